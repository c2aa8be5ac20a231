// What keeps a KV namespace of workerd's, in memory.

const all = new Map();

export default {
  async fetch(request) {
    const key = new URL(request.url).pathname;
    if (request.method === 'PUT') {
      all.set(key, await request.arrayBuffer());
      return new Response(null, { status: 204 });
    }
    const found = all.get(key);
    return found ? new Response(found) : new Response(null, { status: 404 });
  },
};
