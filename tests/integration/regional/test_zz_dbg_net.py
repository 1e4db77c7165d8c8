import importlib.util,sys
from tests.integration.regional.test_dhcp_segment import *
from tests.integration.regional.test_dhcp_segment import segment
pytestmark=[]
async def test_dbg(segment,tmp_path):
    first=segment.plug(KNOWN)
    async with serving(segment,"full",pool_of(segment)) as server:
        script = tmp_path / "told.sh"
        print(await udhcpc(first,tmp_path))
        print(first.run("ip","address").stdout, first.run("ip","route").stdout)
        print(first.run("busybox","udhcpc","-f","-n","-q","-R","-i","eth0","-s",str(script)))
        await asyncio.sleep(1)
        print(server.status())
    assert 0
