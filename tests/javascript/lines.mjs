/** The lines of a stream. */
export async function* lines(stream) {
  const decoder = new TextDecoder();
  let left = '';
  for await (const chunk of stream) {
    const parts = (left + decoder.decode(chunk, { stream: true })).split('\n');
    left = parts.pop();
    yield* parts;
  }
}
