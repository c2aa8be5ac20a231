// For hosts where reading a file would want a permission, or a bundler would lose it.
import { base64 } from '../wasm/inline.js';
import { compileBy } from './wasm.js';

compileBy(() => new WebAssembly.Module(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))));

export * from './api.js';
