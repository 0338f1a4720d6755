"""Drives the Python SDK 1.x (`mcp`), a client of the session era. steps.mjs has the contract."""

import sys
from contextlib import AsyncExitStack
from datetime import timedelta

import anyio
from mcp import ClientSession, StdioServerParameters, types
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client
from mcp.client.websocket import websocket_client

import steps


class Driver:
    def __init__(self, stack):
        self.stack, self.progress, self.logs, self.session = stack, [], [], None

    async def connect(self):
        where = steps.target()
        if isinstance(where, list):
            transport = stdio_client(StdioServerParameters(command=where[0], args=where[1:]))
        elif where.startswith("ws"):
            transport = websocket_client(where)
        elif where.endswith("/sse"):
            transport = sse_client(where)
        else:
            transport = streamablehttp_client(where)
        streams = (await self.stack.enter_async_context(transport))[:2]
        self.session = await self.stack.enter_async_context(
            ClientSession(
                *streams,
                read_timeout_seconds=timedelta(seconds=steps.STEP_LIMIT_SECONDS),
                logging_callback=self.on_log,
                client_info=types.Implementation(name="driver-py-v1", version="1.0.0"),
            )
        )
        return steps.plain(await self.session.initialize())

    async def on_log(self, params):
        self.logs.append(steps.plain(params))

    async def on_progress(self, progress, total, message):
        self.progress.append(steps.note(progress, total, message))

    async def list_page(self, kind, cursor):
        method = {"list_templates": "list_resource_templates"}.get(kind, kind)
        params = types.PaginatedRequestParams(cursor=cursor) if cursor is not None else None
        return await getattr(self.session, method)(params=params)

    async def call(self, name, arguments, progress):
        return await self.session.call_tool(name, arguments, progress_callback=self.on_progress if progress else None)

    async def cancel(self, name, arguments):
        # This SDK has no way to cancel a call, so its caller says it by hand, with the id that the call is about to get.
        request_id = self.session._request_id
        with anyio.CancelScope() as scope:

            async def stop(progress, total, message):
                await self.on_progress(progress, total, message)
                params = types.CancelledNotificationParams(requestId=request_id, reason="no longer needed")
                await self.session.send_notification(
                    types.ClientNotification(types.CancelledNotification(params=params))
                )
                scope.cancel()

            return await self.session.call_tool(name, arguments, progress_callback=stop)
        raise RuntimeError("no longer needed")

    async def read(self, uri):
        return await self.session.read_resource(uri)

    async def get_prompt(self, name, arguments):
        return await self.session.get_prompt(name, arguments)

    async def complete(self, ref, argument):
        kind = types.PromptReference if ref["type"] == "ref/prompt" else types.ResourceTemplateReference
        return await self.session.complete(kind(**ref), argument)

    async def set_level(self, level):
        return await self.session.set_logging_level(level)

    async def ping(self):
        return await self.session.send_ping()


async def main():
    async with AsyncExitStack() as stack:
        return await steps.run(Driver(stack))


sys.exit(0 if anyio.run(main) else 1)
