// The subject in Node and Deno: lines on standard input, answers on standard output.

import { say } from '#host';

import { lines } from './lines.mjs';
import { answer } from './subject.mjs';

const deno = globalThis.Deno;

for await (const line of lines(deno ? deno.stdin.readable : process.stdin)) say(await answer(line));
