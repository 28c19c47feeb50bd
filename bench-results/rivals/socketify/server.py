"""A push server on socketify, which is uWebSockets under Python, with its native publish and subscribe.

Commands are text: `sub NAME,NAME…`, answered by `ok`, and `pub NAME PAYLOAD`, whose payload every subscriber of the topic
gets as it is. On /echo every message comes back. Prints where it listens, then `ready`.
"""

import sys

from socketify import App, AppListenOptions, CompressOptions, OpCode

# Beyond this uWebSockets drops messages; no load here may come near it.
LIMITS = {
    "compression": CompressOptions.DISABLED, "max_payload_length": 16 << 20, "max_backpressure": 16 << 20, "idle_timeout": 0,
}

app = App()


def obey(socket, message, opcode):
    """Carries out a command."""
    command, _, rest = message.partition(" ")
    if command == "sub":
        for topic in rest.split(","):
            socket.subscribe(topic)
        socket.send("ok", OpCode.TEXT)
    elif command == "pub":
        topic, _, payload = rest.partition(" ")
        app.publish(topic, payload, OpCode.TEXT)
    else:
        socket.send("what?", OpCode.TEXT)


app.ws("/echo", {**LIMITS, "message": lambda socket, message, opcode: socket.send(message, opcode)})
app.ws("/", {**LIMITS, "message": obey})
app.listen(
    AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"),
    lambda config: print(f"listening on ws://127.0.0.1:{config.port}\nready", flush=True),
)
app.run()
