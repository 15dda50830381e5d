"""What every other part stands on: errors, durable writes, migrations, progress. Imports nothing above it."""
