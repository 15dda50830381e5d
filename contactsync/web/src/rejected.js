/** A text that is nothing that can be looked up. `reason` and `hint` contain nothing of it. */
export class Rejected extends Error {
  constructor(reason, hint = '') {
    super(reason);
    this.reason = reason;
    this.hint = hint;
  }
}
