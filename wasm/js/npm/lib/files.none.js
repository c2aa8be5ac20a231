/** There are no files here. */
export const fileProof = undefined;

/** There are no files here. */
export const hasFile = undefined;
