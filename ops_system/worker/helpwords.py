"""The help of `ops-worker` in Chinese, by its English words. A test holds it to every command and flag."""

CHINESE = {
    "runs services on this node for a master": "在本节点上为 master 运行服务",
    # commands
    "run the worker, joining with -token the first time": "运行 worker，首次运行时用 -token 加入",
    "say how this node and its services are": "显示本节点及其服务的状态",
    "undo it all: boot service, identity, keys, state; the master is told": (
        "全部撤销：开机服务、身份、密钥、状态；并告知 master"
    ),
    # flags
    "the YAML file to read": "要读取的 YAML 文件",
    "address of the master": "master 的地址",
    "join token; @FILE or - keep it out of ps": "加入令牌；写成 @FILE 或 - 可避免出现在进程列表中",
    "allow http:// to another host": "允许用 http:// 连接其他主机",
    "name of this node; empty: the host name": "本节点名称；留空则用主机名",
    "labels of this node": "本节点的标签",
    "status port on 127.0.0.1: /health and /metrics": "127.0.0.1 上的状态端口：/health 与 /metrics",
    "folder of this node's identity, packages and instances": "存放本节点身份、服务包和实例的目录",
    "1 installs the boot service and exits, 0 removes it": "1 安装开机服务后退出，0 移除开机服务",
    "1 prints JSON": "1 表示输出 JSON",
    "1 stops and removes the services first": "1 表示先停止并移除服务",
    "1 lets running services go on without care": "1 表示让运行中的服务继续运行，但不再受管理",
}
