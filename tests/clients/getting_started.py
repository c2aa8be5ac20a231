"""What a new user of redis-py sends: the getting-started page and the README, in short."""

import os

import redis

login = {
    "host": "localhost",
    "port": int(os.environ["REDIS_PORT"]),
    "ssl": True,
    "ssl_ca_certs": os.environ["SSL_CERT_FILE"],
    "username": os.environ["REDIS_USER"],
    "password": os.environ["REDIS_TOKEN"],
    "decode_responses": True,
}


def same(found, wanted):
    assert found == wanted, f"{found!r} is not {wanted!r}"


for protocol in (2, 3):
    r = redis.Redis(protocol=protocol, **login)
    same(r.ping(), True)
    r.flushall()
    # Strings, counters, expiry.
    same(r.set("foo", "bar"), True)
    same(r.get("foo"), "bar")
    same(r.get("nothing"), None)
    same(r.set("foo", "baz", nx=True), None)
    same(r.set("foo", "bar", ex=100), True)
    same(0 < r.ttl("foo") <= 100, True)
    same(r.persist("foo"), True)
    same(r.expire("foo", 10), True)
    same([r.incr("n"), r.incr("n", 41), r.decr("n", 2)], [1, 42, 40])
    same(r.mset({"a": "1", "b": "2"}), True)
    same(r.mget("a", "b", "c"), ["1", "2", None])
    same(r.append("a", "23"), 3)
    same(r.strlen("a"), 3)
    # A hash, as in the page.
    fields = {"name": "John", "surname": "Smith", "company": "Redis", "age": 29}
    same(r.hset("user-session:123", mapping=fields), 4)
    same(r.hgetall("user-session:123"), {key: str(value) for key, value in fields.items()})
    same(r.hget("user-session:123", "name"), "John")
    same(r.hincrby("user-session:123", "age", 1), 30)
    same(r.hexists("user-session:123", "age"), True)
    same(r.hdel("user-session:123", "age"), 1)
    # A list and a set.
    same(r.rpush("bikes:repairs", "bike:1", "bike:2"), 2)
    same(r.lpush("bikes:repairs", "bike:0"), 3)
    same(r.lrange("bikes:repairs", 0, -1), ["bike:0", "bike:1", "bike:2"])
    same(r.rpop("bikes:repairs"), "bike:2")
    same(r.lpop("bikes:repairs"), "bike:0")
    same(r.llen("bikes:repairs"), 1)
    same(r.sadd("bikes:racing:france", "bike:1", "bike:2"), 2)
    same(r.smembers("bikes:racing:france"), {"bike:1", "bike:2"})
    same(bool(r.sismember("bikes:racing:france", "bike:1")), True)
    same(r.srem("bikes:racing:france", "bike:1"), 1)
    same(r.scard("bikes:racing:france"), 1)
    # Keys.
    same(r.exists("foo", "nothing"), 1)
    same(r.type("bikes:repairs"), "list")
    same(sorted(r.keys("bikes:*")), ["bikes:racing:france", "bikes:repairs"])
    same(sorted(r.scan_iter(match="bikes:*")), ["bikes:racing:france", "bikes:repairs"])
    same(r.delete("foo"), 1)
    # A pipeline, which is a transaction, and one that watches.
    pipe = r.pipeline()
    pipe.set("foo", 5)
    pipe.set("bar", 18.5)
    pipe.set("blee", "hello world!")
    same(pipe.execute(), [True, True, True])
    three = r.pipeline().set("foo", "bar").sadd("faz", "baz").incr("auto_number")
    same(three.execute(), [True, 1, 1])

    def next_number(pipe):
        number = int(pipe.get("auto_number"))
        pipe.multi()
        pipe.set("auto_number", number + 1)

    same(r.transaction(next_number, "auto_number"), [True])
    same(r.get("auto_number"), "2")
    same(r.pipeline(transaction=False).get("foo").get("bar").execute(), ["bar", "18.5"])
    # What a wrong command comes to.
    try:
        r.incr("foo")
        raise AssertionError("that is no number")
    except redis.ResponseError as error:
        same(str(error), "value is not an integer or out of range")
    # Publish and subscribe.
    p = r.pubsub()
    p.subscribe("my-first-channel")
    p.psubscribe("my-*")
    same([p.get_message(timeout=5)["type"] for _ in range(2)], ["subscribe", "psubscribe"])
    same(r.publish("my-first-channel", "some data"), 2)
    heard = sorted(p.get_message(timeout=5)["type"] for _ in range(2))
    same(heard, ["message", "pmessage"])
    p.unsubscribe()
    p.punsubscribe()
    same([p.get_message(timeout=5)["type"] for _ in range(2)], ["unsubscribe", "punsubscribe"])
    p.close()
    r.close()
print("done")
