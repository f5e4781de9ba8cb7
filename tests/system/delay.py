# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that lets what it passes on take time.

    delay.py LISTEN TARGET PORT

Connections to LISTEN:PORT are passed on to TARGET:PORT.  Each line "LEAST MORE" on standard input,
which is answered by an empty one, sets how many milliseconds a piece takes, in either direction:
LEAST, and a random part of MORE.  Pieces stay in their order.  It ends with its standard input.
"""

import asyncio
import random
import sys

PIECE = 1 << 18


class Delay:
    least_s = more_s = 0.0

    def draw(self):
        return self.least_s + random.random() * self.more_s


async def receive(reader, pieces, delay):
    """Puts what arrives into the queue, with when it is to go on; at last nothing."""
    loop = asyncio.get_running_loop()
    due = 0.0
    data = b"more"
    while data:
        try:
            data = await reader.read(PIECE)
        except OSError:
            data = b""
        due = max(due, loop.time() + delay.draw())
        await pieces.put((due, data))


async def send(writer, pieces):
    loop = asyncio.get_running_loop()
    while True:
        due, data = await pieces.get()
        await asyncio.sleep(due - loop.time())
        if not data:
            return
        try:
            writer.write(data)
            await writer.drain()
        except OSError:
            return


async def pass_on(reader, writer, delay):
    """One direction; whichever end closes, both do."""
    pieces = asyncio.Queue(64)
    receiver = asyncio.create_task(receive(reader, pieces, delay))
    await send(writer, pieces)
    receiver.cancel()


async def main(listen, target, port):
    delay = Delay()

    async def accept(reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection(target, port)
        except OSError:
            writer.close()
            return
        ways = [asyncio.create_task(pass_on(reader, far_writer, delay)),
                asyncio.create_task(pass_on(far_reader, writer, delay))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        writer.close()
        far_writer.close()

    await asyncio.start_server(accept, listen, port)
    print(flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        delay.least_s, delay.more_s = (float(word) / 1000 for word in line.split())
        print(flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
