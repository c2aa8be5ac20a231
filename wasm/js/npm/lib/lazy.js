/** A module that is compiled when somebody wants it, and not before. */
export class Lazy {
  #initSync;
  #compile;

  constructor(initSync) {
    this.#initSync = initSync;
  }

  /** Says where it comes from. */
  compileBy(how) {
    this.#compile = how;
  }

  /** Has it ready. */
  load() {
    if (this.#compile) this.#initSync({ module: this.#compile() });
    this.#compile = undefined;
  }
}

/** A module in text, for hosts where reading a file would want a permission, or a bundler would lose
 * it. */
export const decoded = (base64) =>
  new WebAssembly.Module(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)));
