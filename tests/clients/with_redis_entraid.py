"""Works with redis-py and redis-entraid while three tokens end, one after the other."""

import json
import os
import sys
import time
import urllib.request

import redis
from redis_entraid.cred_provider import (
    ManagedIdentityIdType,
    ManagedIdentityType,
    create_from_default_azure_credential,
    create_from_managed_identity,
)

env = os.environ
providers = {
    "system": lambda: create_from_managed_identity(
        ManagedIdentityType.SYSTEM_ASSIGNED, "https://redis.azure.com/"
    ),
    "user": lambda: create_from_managed_identity(
        ManagedIdentityType.USER_ASSIGNED,
        "https://redis.azure.com/",
        ManagedIdentityIdType.CLIENT_ID,
        env["EMULATOR_CLIENT_ID"],
    ),
    "default": lambda: create_from_default_azure_credential(
        ("https://redis.azure.com/.default",),
        authority=env.get("AZURE_AUTHORITY_HOST"),
        app_kwargs={"disable_instance_discovery": True},
    ),
}

r = redis.Redis(
    host="localhost",
    port=int(env["REDIS_PORT"]),
    ssl=True,
    ssl_ca_certs=env["SSL_CERT_FILE"],
    credential_provider=providers[sys.argv[1]](),
    protocol=3,
    decode_responses=True,
)
p = r.pubsub(ignore_subscribe_messages=True)
p.subscribe("numbers")
p.get_message(timeout=5)


def reauths():
    with urllib.request.urlopen(env["AMR_EMULATOR_CONTROL"] + "/counters") as counters:
        return json.load(counters)["reauths"]


n = 0
for renewed in range(1, 3):
    # Each of the two connections logs in with each new token.
    while reauths() < 2 * renewed:
        n += 1
        assert r.incr("n") == n
        assert r.pipeline().set("last", n).get("last").execute() == [True, str(n)]
    # redis-py 8.1.0 mixes a message up with the answer to AUTH if they meet, so they don't.
    time.sleep(0.5)
    r.publish("numbers", n)
    message = p.get_message(timeout=5)
    assert message and message["data"] == str(n), message
print("done")
