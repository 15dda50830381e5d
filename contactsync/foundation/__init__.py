"""The basis of all other packages: errors, durable writes, migrations, progress. Imports none of them."""
