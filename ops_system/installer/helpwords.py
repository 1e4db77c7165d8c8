"""The help of `install-agent` in Chinese, by its English words. A test holds it to every command and flag."""

CHINESE = {
    "installs the machine it runs on, as its regional client says; or plays such a machine": (
        "按区域客户端的指示安装所在机器；或模拟这样一台机器"
    ),
    "report this machine and do what its task says": "上报本机并执行其任务",
    "the regional client, and those that stand by": "区域客户端及其备用客户端",
    "serial number, where the firmware has none": "序列号，固件没有时使用",
    "the card that counts, where there are several": "有多块网卡时，作为依据的那一块",
    "simulate plays a machine": "simulate 模拟一台机器",
    "simulate: so many machines, numbered": "simulate：模拟的机器数量，依次编号",
    "simulate: size of its disk, a sparse file": "simulate：磁盘大小（稀疏文件）",
    "simulate: where the disks lie; empty: a temporary folder": "simulate：磁盘所在目录；留空则为临时目录",
}
