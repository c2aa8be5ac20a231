/** There are no files here. */
export const fileProof = undefined;
