"""The help of `ops-regional` in Chinese, by its English words. A test holds it to every command and flag."""

CHINESE = {
    "boots the machines of one data centre over the network": "通过网络引导一个数据中心的机器",
    "run the regional client until a signal": "运行区域客户端，直到收到信号",
    "the YAML file to read": "要读取的 YAML 文件",
    "name of the data centre": "数据中心名称",
    "address of the HTTP listener": "HTTP 监听地址",
    "port of the HTTP listener": "HTTP 监听端口",
    "where machines reach it; empty: found from -interface": "机器访问它的地址；留空则由 -interface 得出",
    "folder of journal and images; empty: ./regional-IDC": "日志与镜像目录；留空则为 ./regional-IDC",
    "masters, or members of an etcd": "master 地址，或 etcd 成员地址",
    "API token of a master; @FILE or - hide it": "master 的 API 令牌；写成 @FILE 或 - 可避免泄露",
    "user of an etcd with authentication": "启用认证的 etcd 的用户",
    "password of that user; @FILE keeps it out of ps": "该用户的密码；写成 @FILE 可避免出现在进程列表中",
    "PEM file of the authority to trust for https": "https 信任的 CA 的 PEM 文件",
    "PEM file of the certificate to show to an etcd": "向 etcd 出示的证书的 PEM 文件",
    "PEM file of its key": "该证书私钥的 PEM 文件",
    "where images come from beside an etcd; empty: the store, a master": (
        "使用 etcd 时镜像的来源；留空则为作为存储的 master"
    ),
    "network card of the machines": "连接机器的网卡",
    "answer DHCP: beside another server, or alone": "应答 DHCP：与其他服务器并存（proxy），或独立应答（full）",
    "on: serve boot loaders by TFTP": "on：通过 TFTP 提供引导程序",
    "folder of kernel, agent and boot loaders": "内核、代理和引导程序的目录",
    "addresses of full DHCP: FIRST-LAST": "独立 DHCP 的地址范围：FIRST-LAST",
    "router of full DHCP": "独立 DHCP 的网关",
    "resolvers of full DHCP": "独立 DHCP 的 DNS 服务器",
    "networks behind relays: NETWORK/BITS:FIRST-LAST[:GATEWAY]": ("中继之后的网络：NETWORK/BITS:FIRST-LAST[:GATEWAY]"),
}
