"""Drives the Python SDK 2.x (`mcp`), which probes the sessionless era first and must fall back (`auto`, its own default);
`session` and `sessionless` pin the era. steps.mjs has the contract."""

import sys
from contextlib import AsyncExitStack

import anyio
import mcp_types as types
from mcp import Client, StdioServerParameters

import steps

MODES = {"auto": "auto", "session": "legacy", "sessionless": "2026-07-28"}


class Driver:
    def __init__(self, stack):
        self.stack, self.progress, self.logs, self.client = stack, [], [], None

    async def connect(self):
        where = steps.target()
        if isinstance(where, list):
            where = StdioServerParameters(command=where[0], args=where[1:])
        client = Client(
            where,
            mode=MODES[steps.mode("auto")],
            read_timeout_seconds=steps.STEP_LIMIT_SECONDS,
            logging_callback=self.on_log,
            client_info=types.Implementation(name="driver-py-v2", version="1.0.0"),
        )
        self.client = await self.stack.enter_async_context(client)
        return {
            "protocolVersion": client.protocol_version,
            "capabilities": steps.plain(client.server_capabilities),
            "serverInfo": steps.plain(client.server_info),
            "instructions": client.instructions,
        }

    async def on_log(self, params):
        self.logs.append(steps.plain(params))

    async def on_progress(self, progress, total, message):
        self.progress.append(steps.note(progress, total, message))

    async def list_page(self, kind, cursor):
        method = {"list_templates": "list_resource_templates"}.get(kind, kind)
        return await getattr(self.client, method)(cursor=cursor)

    async def call(self, name, arguments, progress):
        return await self.client.call_tool(name, arguments, progress_callback=self.on_progress if progress else None)

    async def cancel(self, name, arguments):
        with anyio.CancelScope() as scope:

            async def stop(progress, total, message):
                await self.on_progress(progress, total, message)
                scope.cancel()

            return await self.client.call_tool(name, arguments, progress_callback=stop)
        raise RuntimeError("no longer needed")

    async def read(self, uri):
        return await self.client.read_resource(uri)

    async def get_prompt(self, name, arguments):
        return await self.client.get_prompt(name, arguments)

    async def complete(self, ref, argument):
        kind = types.PromptReference if ref["type"] == "ref/prompt" else types.ResourceTemplateReference
        return await self.client.complete(kind(**ref), argument)

    async def set_level(self, level):
        return await self.client.set_logging_level(level)

    async def ping(self):
        return await self.client.send_ping()


async def main():
    async with AsyncExitStack() as stack:
        return await steps.run(Driver(stack))


sys.exit(0 if anyio.run(main) else 1)
