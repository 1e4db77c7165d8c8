"""The help of `ops-master` in Chinese, by its English words. A test holds it to every command and flag."""

CHINESE = {
    "console, API and control plane": "控制台、API 与控制面",
    # commands
    "run the master": "运行 master",
    "make a user; a running master knows it at once": "创建用户；运行中的 master 立即生效",
    "make an API token; it alone is printed, once": "创建 API 令牌；只输出令牌本身，且仅此一次",
    "make a token by which a worker joins; it alone is printed, once": (
        "创建供 worker 加入的令牌；只输出令牌本身，且仅此一次"
    ),
    "follow the hash chain of the audit log": "沿哈希链校验审计日志",
    "copy every package to the other store, verified; goes on where it was broken off": (
        "把所有服务包复制到另一种存储并校验；中断后可继续"
    ),
    "back up database, keys and packages, the master running or not": ("备份数据库、密钥和服务包，master 运行与否均可"),
    "list the backups here and on S3": "列出本机和 S3 上的备份",
    "put the data of a backup in place of the present data; the master must be stopped": (
        "用备份中的数据替换当前数据；须先停止 master"
    ),
    "copy the state of installations to an etcd, or back; the master must be stopped": (
        "把装机状态复制到 etcd，或从 etcd 复制回来；须先停止 master"
    ),
    "look at data folder, database, keys and ports": "检查数据目录、数据库、密钥和端口",
    # flags of the master itself
    "the YAML file to read": "要读取的 YAML 文件",
    "port of the plain listener on 127.0.0.1": "127.0.0.1 上明文监听的端口",
    "address of the TLS listener": "TLS 监听地址",
    "port of the TLS listener": "TLS 监听端口",
    "the data folder, made 0700": "数据目录，权限为 0700",
    "the database file; empty: ops.db in the data folder": "数据库文件；留空则为数据目录中的 ops.db",
    "where packages are kept": "服务包的存储位置",
    "folder of local packages; empty: in the data folder": "本地服务包目录；留空则在数据目录内",
    "HOST:PORT of the S3 server": "S3 服务器的 HOST:PORT",
    "access key": "访问密钥 ID（access key）",
    "secret key, better as @FILE": "访问密钥（secret key），建议写成 @FILE",
    "bucket": "存储桶",
    "reach the S3 server by https": "用 https 访问 S3 服务器",
    "addresses of the etcd cluster; sets provision.store to etcd": "etcd 集群地址；同时把 provision.store 设为 etcd",
    "open the console in a browser; not given: only on a desktop": "在浏览器中打开控制台；未给出时仅在桌面环境打开",
    "1 installs the boot service and exits, 0 removes it": "1 安装开机服务后退出，0 移除开机服务",
    # flags of commands
    "what the user or token may do": "用户或令牌的角色",
    "read the password from standard input": "从标准输入读取密码",
    "what it may do beyond the role: exec, secrets, takeover, terminal, wipe.approve": (
        "角色之外的权限：exec、secrets、takeover、terminal、wipe.approve"
    ),
    "a token with role admin: all": "admin 角色的令牌：全部",
    "limits it to the nodes with these labels": "仅限带有这些标签的节点",
    "the data centre of a regional client": "区域客户端所在的数据中心",
    "how long a token is good": "令牌的有效期",
    "an API token for ever, a join token 1h": "API 令牌永久有效，加入令牌 1h",
    "how many workers may join with it": "可用它加入的 worker 数量",
    "labels the joining nodes get": "加入的节点获得的标签",
    "http://HOST:2379[,…] of the etcd, or embedded (then from provision.etcd)": (
        "etcd 的 http://HOST:2379[,…]，或 embedded（此时从 provision.etcd 复制）"
    ),
    "1 removes them from the other store once they are verified; storage.type must be --to": (
        "1 表示校验后从另一种存储中删除；storage.type 须与 --to 一致"
    ),
    "a line that lists show": "列表中显示的备注",
    "0 leaves the packages out": "0 表示不含服务包",
    "a file whose first line is the passphrase of an encrypted backup": "首行为加密备份口令的文件",
}
