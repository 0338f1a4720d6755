"""What the two Python drivers share; steps.mjs states the contract.

    python py_v1.py TARGET SCRIPT [MODE]

A driver gives `run` an object with the methods `connect`, `list_page`, `call`, `cancel`, `read`, `get_prompt`,
`complete`, `set_level` and `ping`, each returning a pydantic model or a plain object. What the server left out stays left out:
models are written with the members that were set, under their names on the wire.
"""

import json
import sys

STEP_LIMIT_SECONDS = 60
LISTS = {
    "list_tools": "tools",
    "list_resources": "resources",
    "list_templates": "resourceTemplates",
    "list_prompts": "prompts",
}


def target():
    """The URL as text, or a command with its arguments as a list."""
    text = sys.argv[1]
    return json.loads(text[len("stdio:") :]) if text.startswith("stdio:") else text


def mode(default):
    return sys.argv[3] if len(sys.argv) > 3 else default


def plain(value):
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return value


async def run(driver):
    """Performs the script and says whether the connection came about."""
    for step, order in enumerate(json.loads(sys.argv[2])):
        line = {"step": step, "do": order["do"]}
        driver.progress, driver.logs = [], []
        try:
            line["result"] = await perform(driver, order)
        except Exception as error:  # every fault of a step is the step's answer
            inner = root(error)
            told = getattr(inner, "error", inner)
            line["error"] = {"code": getattr(told, "code", None), "message": getattr(told, "message", None) or str(told) or repr(told)}
            if getattr(told, "data", None) is not None:
                line["error"]["data"] = told.data
        if driver.progress:
            line["progress"] = driver.progress
        if driver.logs:
            line["logs"] = driver.logs
        print(json.dumps(line), flush=True)
        if "error" in line and order["do"] == "connect":
            return False
    return True


async def perform(driver, order):
    kind = order["do"]
    if kind in LISTS:
        return await pages(driver, kind)
    if kind == "connect":
        return await driver.connect()
    if kind == "call":
        return plain(await driver.call(order["name"], order.get("arguments"), order.get("progress", False)))
    if kind == "cancel":
        return plain(await driver.cancel(order["name"], order.get("arguments")))
    if kind == "read":
        return plain(await driver.read(order["uri"]))
    if kind == "get_prompt":
        return plain(await driver.get_prompt(order["name"], order.get("arguments")))
    if kind == "complete":
        return plain(await driver.complete(order["ref"], order["argument"]))
    if kind == "set_level":
        return plain(await driver.set_level(order["level"]))
    if kind == "ping":
        return plain(await driver.ping())
    raise ValueError(f"the driver does not know the step {kind!r}")


async def pages(driver, kind):
    items, cursor = [], None
    for _ in range(1000):
        page = plain(await driver.list_page(kind, cursor))
        items.extend(page[LISTS[kind]])
        cursor = page.get("nextCursor")
        if cursor is None:
            return {LISTS[kind]: items}
    raise RuntimeError("the list did not end after 1000 pages")


def note(progress, total, message):
    """A progress notification as the wire has it: what was not said is not there."""
    said = {"progress": progress, "total": total, "message": message}
    return {key: value for key, value in said.items() if value is not None}


def root(error):
    """The first real fault inside the groups that task groups wrap around it."""
    while getattr(error, "exceptions", None):
        error = error.exceptions[0]
    return error
