"""What `ops-master doctor` says, in Chinese by its English words."""

CHINESE = {
    # what is looked at
    "data folder": "数据目录",
    "database": "数据库",
    "certificate authority": "证书颁发机构",
    "TLS certificate": "TLS 证书",
    "publishers": "发布者",
    "packages": "服务包",
    # how it is
    "{path} does not exist yet; the first start makes it": "{path} 尚不存在；首次启动时创建",
    "{path} cannot be written by this user": "当前用户不能写入 {path}",
    "{path}, {free_mb} MB free": "{path}，可用 {free_mb} MB",
    "{path}, {free_mb} MB free, not initialized yet": "{path}，可用 {free_mb} MB，尚未初始化",
    "{path} is open to others (mode {mode}): chmod go-rwx {path}": (
        "{path} 对其他用户开放（权限 {mode}）：chmod go-rwx {path}"
    ),
    "{path}, {size_kb} kB, sound": "{path}，{size_kb} kB，完好",
    "{path}, readable by its owner alone": "{path}，仅其所有者可读",
    "{path}, good until {until}, key SHA-256 {sha256}": "{path}，有效期至 {until}，密钥 SHA-256 {sha256}",
    "{path} expires on {until} UTC; renew it": "{path} 将于 {until} UTC 过期；请更新",
    "{path} (own), good until {until} UTC, SHA-256 {sha256}": "{path}（自有），有效期至 {until} UTC，SHA-256 {sha256}",
    "{path}, good until {until} UTC, SHA-256 {sha256}": "{path}，有效期至 {until} UTC，SHA-256 {sha256}",
    "made when there is an administrator": "有管理员后生成",
    "the trusted publishers cannot be read: {error}": "无法读取受信任的发布者：{error}",
    "storage.require_publisher is on and no key is trusted: no package is taken. Add one under Settings": (
        "storage.require_publisher 已开启，但没有受信任的密钥：不接收任何服务包。请在“设置”中添加"
    ),
    "only packages signed by one of {count} trusted keys are taken": "仅接收由 {count} 个受信任密钥之一签名的服务包",
    "bucket {bucket} on {endpoint} answers": "{endpoint} 上的存储桶 {bucket} 有应答",
    "any free one": "任一空闲端口",
    "{port} is held; a master is running here": "{port} 已被占用；主控正在此运行",
    "{port} on {address} cannot be used: {error}": "{address} 上的 {port} 不可用：{error}",
    "{port} on {address} is free": "{address} 上的 {port} 空闲",
}
