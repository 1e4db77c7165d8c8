"""What programs say of bad input and refuse for safety, in Chinese by its English words."""

CHINESE = {
    # a line that was not understood
    "unknown flag {flag}{hint}; --help lists them all": "没有选项 {flag}{hint}；--help 列出全部",
    '; did you mean "{name}"?': "；是否想用“{name}”？",
    "; did you mean -{name}?": "；是否想用 -{name}？",
    "; --help lists them all": "；--help 列出全部",
    "{flag} needs a value: {flag}={metavar}": "{flag} 需要一个值：{flag}={metavar}",
    "{program} wants a command: {known}; --help explains them": "{program} 需要一个命令：{known}；--help 有说明",
    'unknown command "{command}"; "{noun}" takes: {known}': "没有命令“{command}”；“{noun}”可用：{known}",
    'unknown command "{command}"{hint}': "没有命令“{command}”{hint}",
    '"{command}" takes no flag -{flag}; it belongs to "{user}"': "“{command}”没有选项 -{flag}；它属于“{user}”",
    'unexpected "{word}" after "{command}"; --help explains it': "“{command}”之后多出“{word}”；--help 有说明",
    '"{command}" needs {argument}': "“{command}”需要 {argument}",
    "this command": "该命令",
    # what is wrong with a value
    '"{network}" is no address and no network; write 10.0.0.7, 10.0.0.0/24 or fd00::/8': (
        "“{network}”不是地址，也不是网段；请写 10.0.0.7、10.0.0.0/24 或 fd00::/8"
    ),
    '"{part}" is not a label; write KEY=VALUE,KEY=VALUE': "“{part}”不是标签；请写 KEY=VALUE,KEY=VALUE",
    '"{path}" is no path; write it as docs/api.md does, such as /nodes': (
        "“{path}”不是路径；请按 docs/api.md 的写法，例如 /nodes"
    ),
    '"{text}" is longer than a hundred years; write a shorter duration': "“{text}”超过一百年；请写更短的时长",
    '"{text}" is neither 1 nor 0': "“{text}”既不是 1 也不是 0",
    '"{text}" is none of {known}': "“{text}”不在可选值之中：{known}",
    '"{text}" is none of {known}{hint}': "“{text}”不在可选值之中：{known}{hint}",
    '"{text}" is not a duration; write a number with ms, s, m, h or d, such as "10s" or "1h30m"': (
        "“{text}”不是时长；请写带 ms、s、m、h 或 d 的数字，例如“10s”或“1h30m”"
    ),
    '"{text}" is not a port; write 0 to 65535 (0 takes a free one)': (
        "“{text}”不是端口；请写 0 到 65535（0 表示任选空闲端口）"
    ),
    '"{text}" is not a size; write a number with B, KB, MB, GB, KiB, MiB or GiB, such as "50MB"': (
        "“{text}”不是大小；请写带 B、KB、MB、GB、KiB、MiB 或 GiB 的数字，例如“50MB”"
    ),
    '"{text}" is not a whole number from {minimum} to {maximum}': "“{text}”不是 {minimum} 到 {maximum} 之间的整数",
    '"{text}" is not a whole number of bytes': "“{text}”不是整数个字节",
    '"{text}" is too large; the limit is {most} bytes': "“{text}”太大；上限为 {most} 字节",
    '"{text}" is too short; the least is {minimum_s:g}s': "“{text}”太短；至少为 {minimum_s:g}s",
    "{seconds} s is negative; a duration is 0 or more": "{seconds} s 为负；时长不能小于 0",
    "this is no address of a server; write http://HOST:PORT or https://HOST:PORT": (
        "这不是服务器地址；请写 http://HOST:PORT 或 https://HOST:PORT"
    ),
    "{where}: {problem}": "{where}：{problem}",
    "{where}: {key}: {problem}": "{where}：{key}：{problem}",
    "{path}: {trouble}": "{path}：{trouble}",
    "{name}: {trouble}": "{name}：{trouble}",
    "{where}: the secret must be one line": "{where}：机密值只能是一行",
    "{where}: cannot read the file {file}: {trouble}": "{where}：无法读取文件 {file}：{trouble}",
    "{where}: the file {file} is larger than {most} bytes": "{where}：文件 {file} 超过 {most} 字节",
    "{where}: the file {file} is not UTF-8 text": "{where}：文件 {file} 不是 UTF-8 文本",
    # configuration
    "-config: cannot read {path}: {error}": "-config：无法读取 {path}：{error}",
    "-config: there is no file {path}": "-config：没有文件 {path}",
    "{path} is no valid YAML: {problem}": "{path} 不是有效的 YAML：{problem}",
    "{path}: the file must be a mapping such as `server:` with keys below it": (
        "{path}：文件必须是映射，例如 `server:` 及其下的键"
    ),
    '{where}: the key "{key}" stands twice; keep one': "{where}：键“{key}”出现两次；请保留一个",
    "{where}: unknown key{hint}": "{where}：未知的键{hint}",
    "{where}: {metavar} is wanted here, not a bare {found}; put it in quotes": (
        "{where}：此处需要 {metavar}，而不是裸的 {found}；请加引号"
    ),
    "unknown environment variable {name}{hint}": "未知的环境变量 {name}{hint}",
    "log.file: cannot write {path}: {trouble}": "log.file：无法写入 {path}：{trouble}",
    "outbound.allow: {text!r} is neither a host name, an address nor a network such as 10.0.0.0/8": (
        "outbound.allow：{text!r} 既不是主机名，也不是地址或网段（例如 10.0.0.0/8）"
    ),
    "outbound.ca_file: {ca_file} holds no certificates in PEM ({problem})": (
        "outbound.ca_file：{ca_file} 中没有 PEM 格式的证书（{problem}）"
    ),
    "no S3 server is set up; set storage.minio.endpoint, ak and sk": (
        "未配置 S3 服务器；请设置 storage.minio.endpoint、ak 和 sk"
    ),
    "policy.publisher_keys: {text!r} is no key id; it has 64 hexadecimal digits, as pack-tool keygen says them": (
        "policy.publisher_keys：{text!r} 不是密钥 ID；它有 64 位十六进制数字，与 pack-tool keygen 显示的一致"
    ),
    "cache.publisher_keys: {key!r} is no key; write its 32 bytes in base64": (
        "cache.publisher_keys：{key!r} 不是密钥；请用 base64 写出其 32 个字节"
    ),
    "provision.etcd: {url}: an address begins with http:// or https://": (
        "provision.etcd：{url}：地址以 http:// 或 https:// 开头"
    ),
    "provision.etcd_ca_file, etcd_cert_file, etcd_key_file: {error}": (
        "provision.etcd_ca_file、etcd_cert_file、etcd_key_file 无法使用：{error}"
    ),
    "provision.shared_key: write 32 bytes in base64, as `openssl rand -base64 32` makes them": (
        "provision.shared_key：请用 base64 写 32 个字节，可用 `openssl rand -base64 32` 生成"
    ),
    "provision.store is etcd and provision.etcd is empty; write -etcd http://HOST:2379[,…]": (
        "provision.store 为 etcd，而 provision.etcd 为空；请写 -etcd http://HOST:2379[,…]"
    ),
    "server.tls_cert: {certificate} is good from {span} only; renew it": (
        "server.tls_cert：{certificate} 的有效期仅为 {span}；请更新"
    ),
    "server.tls_cert: {certificate} is no certificate in PEM ({problem})": (
        "server.tls_cert：{certificate} 不是 PEM 格式的证书（{problem}）"
    ),
    "server.tls_key: {key} is not the key of the certificate in {certificate}": (
        "server.tls_key：{key} 不是 {certificate} 中证书的私钥"
    ),
    "server.tls_key: {path} is no private key in PEM without a password ({problem})": (
        "server.tls_key：{path} 不是无密码的 PEM 私钥（{problem}）"
    ),
    "server.{given} is set and server.{missing} is not; an own certificate needs both files": (
        "已设置 server.{given}，但未设置 server.{missing}；自有证书需要这两个文件"
    ),
    "backup.bucket: {problem}": "backup.bucket：{problem}",
    # commands
    "--ca {ca_file}: {error}": "--ca {ca_file}：{error}",
    "--file {name}: {error}": "--file {name}：{error}",
    "--file {name}: {problem}": "--file {name}：{problem}",
    "a new user needs a password: give --password @FILE, or - and write it to standard input": (
        "新用户需要密码：用 --password @FILE 给出，或写 - 并由标准输入提供"
    ),
    "with --password-stdin the name is needed: --user NAME": "使用 --password-stdin 时需要名称：--user NAME",
    "passphrase-file: {path} cannot be read ({error})": "passphrase-file：无法读取 {path}（{error}）",
    "{file} is there already; name another file": "{file} 已存在；请指定另一个文件",
    "{root} holds no data of a master; name the folder by -data_dir": (
        "{root} 中没有主控的数据；请用 -data_dir 指定目录"
    ),
    "{program} provision migrate: -to is missing; write --to http://HOST:2379 or --to embedded": (
        "{program} provision migrate：缺少 -to；请写 --to http://HOST:2379 或 --to embedded"
    ),
    "{program} storage migrate: -to is missing; write --to {metavar}": (
        "{program} storage migrate：缺少 -to；请写 --to {metavar}"
    ),
    "{program} user create: give the password by standard input and say --password-stdin": (
        "{program} user create：请由标准输入提供密码，并写 --password-stdin"
    ),
    "{program} {command}: -role is missing; write --role {metavar}": (
        "{program} {command}：缺少 -role；请写 --role {metavar}"
    ),
    "provision migrate --to embedded: from where? write -etcd http://HOST:2379, or set provision.etcd": (
        "provision migrate --to embedded：从哪里迁移？请写 -etcd http://HOST:2379，或设置 provision.etcd"
    ),
    "provision migrate --to {to}: write http://HOST:PORT of an etcd, or embedded": (
        "provision migrate --to {to}：请写 etcd 的 http://HOST:PORT，或 embedded"
    ),
    "--file {name}: an object is wanted, such as: name: value": "--file {name}：需要一个对象，例如 name: value",
    '-detach-key: "{text}" is no control key; write ^] or ^A': "-detach-key：“{text}”不是控制键；请写 ^] 或 ^A",
    '"ops terminal" needs NODE, or --share ID': "“ops terminal”需要 NODE，或 --share ID",
    "name the document: a file, or - for standard input": "请指定文档：一个文件，或用 - 表示标准输入",
    "-ca-sha256: write the 64 hexadecimal digits of the SHA-256": "-ca-sha256：请写 SHA-256 的 64 位十六进制数字",
    "-token: this is no API token; copy it again, whole": "-token：这不是 API 令牌；请重新完整复制",
    "push needs --token T, @FILE or -; make one with: ops-master token create NAME --role operator": (
        "push 需要 --token T、@FILE 或 -；用以下命令生成：ops-master token create NAME --role operator"
    ),
    "sign needs --key FILE; pack-tool keygen FILE makes one": "sign 需要 --key FILE；可用 pack-tool keygen FILE 生成",
    "sign-image needs {missing}: as the image will be called at its upload": (
        "sign-image 需要 {missing}：与镜像上传时的名称一致"
    ),
    "this is no certificate of an authority: {error}": "这不是颁发机构的证书：{error}",
    (
        "{url} shows another authority ({found}) than the one given; nothing was sent to it. Ask who runs the "
        "master for the right value"
    ): ("{url} 出示的颁发机构（{found}）与给出的不同；未向其发送任何内容。请向主控的管理者询问正确的值"),
    (
        "{url} would send what proves who you are readable over the network; use https://{host}:8443, or "
        "--allow_plain_http 1"
    ): ("{url} 会在网络上明文发送您的身份凭据；请使用 https://{host}:8443 ，或 --allow_plain_http 1"),
    "{url} does not answer like an ops master; check the address": "{url} 的应答不像 ops 主控；请检查地址",
    "{path} cannot be written: {trouble}": "无法写入 {path}：{trouble}",
    "{path} holds credentials and others may read it: chmod 600 {path}": (
        "{path} 存有凭据，而他人可以读取：chmod 600 {path}"
    ),
    "{path} is damaged ({error}); remove it and log in again: ops login URL": (
        "{path} 已损坏（{error}）；请删除后重新登录：ops login URL"
    ),
    # a worker that joins
    "-master {url} is no address; write https://HOST:{port}": "-master {url} 不是地址；请写 https://HOST:{port}",
    (
        "-master {url} would send everything readable over the network; use https://{host}:{port}, or allow it "
        "with -allow_plain_http 1"
    ): ("-master {url} 会在网络上明文发送一切内容；请使用 https://{host}:{port} ，或用 -allow_plain_http 1 允许"),
    "-master {url}: only scheme, host and port; write {scheme}://{netloc}": (
        "-master {url}：只写协议、主机和端口；请写 {scheme}://{netloc}"
    ),
    "-token is no join token (opsj1.….….…); make one with: ops-master join-token create": (
        "-token 不是加入令牌（opsj1.….….…）；用以下命令生成：ops-master join-token create"
    ),
    "-token was cut or changed on the way; copy it again, whole": "-token 在途中被截断或改动；请重新完整复制",
    "{url} does not answer like an ops master ({problem}); check -master": (
        "{url} 的应答不像 ops 主控（{problem}）；请检查 -master"
    ),
    "{url} does not answer like an ops master; check -master": "{url} 的应答不像 ops 主控；请检查 -master",
    "{url} is not the master this token was made for; nothing was sent to it. Check -master": (
        "{url} 不是签发此令牌的主控；未向其发送任何内容。请检查 -master"
    ),
    "{url} refuses to let this node join: {words}{chinese}": "{url} 拒绝此节点加入：{words}{chinese}",
    (
        "the certificate at {url} does not hold for that address ({problem}); use an address the master knows as "
        "its own, or name it as server.public_url in the master's config.yaml"
    ): (
        "{url} 的证书不适用于该地址（{problem}）；请使用主控自知的地址，或在主控的 config.yaml 中写为 server.public_url"
    ),
    "-stop 1 and -keep 1: say one of them": "-stop 1 与 -keep 1 只能写一个",
    "the worker runs on {work_dir}; stop it first, then leave": (
        "工作节点正在 {work_dir} 上运行；请先停止，再执行 leave"
    ),
    "another worker is already running on {work_dir}; stop it or choose another -work_dir": (
        "另一个工作节点已在 {work_dir} 上运行；请停止它，或换一个 -work_dir"
    ),
    ("port {port} on {address} is in use ({trouble}); stop what uses it (another worker?) or choose one with -port"): (
        "{address} 上的端口 {port} 已被占用（{trouble}）；请停止占用它的程序（另一个工作节点？），或用 -port 另选"
    ),
    "{path} cannot be read ({problem}); restore it from a copy, or remove it and join again with a new token": (
        "无法读取 {path}（{problem}）；请从副本恢复，或删除后用新令牌重新加入"
    ),
    (
        "the node key {path} cannot be read ({problem}); restore it from a copy, or remove it together with "
        "{identity} and join again with a new token"
    ): ("无法读取节点密钥 {path}（{problem}）；请从副本恢复，或连同 {identity} 一起删除后用新令牌重新加入"),
    "{path} holds a key of another kind; an Ed25519 key is wanted": "{path} 中是另一种密钥；需要 Ed25519 密钥",
    # boot services
    "a value with a NUL byte cannot stand in a boot service": "开机服务中的值不能含有 NUL 字节",
    "the path {text!r} cannot stand in a boot service; start from another folder": (
        "路径 {text!r} 不能写入开机服务；请从另一个目录启动"
    ),
    "{where}: a secret does not go into a boot service; put it into a file and write {where}=@FILE": (
        "{where}：机密值不写入开机服务；请放入文件，并写 {where}=@FILE"
    ),
    # a data folder
    "another master{holder} is already running on {folder}; stop it or choose another data_dir": (
        "另一个主控{holder}已在 {folder} 上运行；请停止它，或换一个 data_dir"
    ),
    "port {port} on {address} is in use by another program; stop it, or choose another port": (
        "{address} 上的端口 {port} 已被其他程序占用；请停止它，或另选端口"
    ),
    "port {port} on {address} needs more rights; choose a port above 1023": (
        "使用 {address} 上的端口 {port} 需要更高权限；请选择大于 1023 的端口"
    ),
    "cannot listen on {address} port {port}: {trouble}": "无法在 {address} 的端口 {port} 上监听：{trouble}",
    "{path} does not belong to ca.key beside it: put both back from one backup": (
        "{path} 与旁边的 ca.key 不是一对：请从同一备份恢复两者"
    ),
    "{path} is damaged or unreadable ({error}): put it back from a backup": (
        "{path} 已损坏或无法读取（{error}）：请从备份恢复"
    ),
    "{path} is missing, but this data folder is in use: put it back from a backup": (
        "缺少 {path}，而此数据目录已在使用：请从备份恢复"
    ),
    "{path} is damaged ({error}): restore the backup again after removing it": (
        "{path} 已损坏（{error}）：请删除后重新恢复备份"
    ),
    "{path} is damaged ({verdict}); put a copy of it in its place, or move it away to begin anew": (
        "{path} 已损坏（{verdict}）；请用副本替换，或移走后重新开始"
    ),
    "{path} was written by a newer version (format {found}); start that one": (
        "{path} 由更新的版本写入（格式 {found}）；请启动该版本"
    ),
    "{path} was written by a newer version of this program (schema steps {steps}): install that version": (
        "{path} 由本程序更新的版本写入（模式步骤 {steps}）：请安装该版本"
    ),
    "{path}: schema step {step} failed and was undone: {error}{kept}": (
        "{path}：模式步骤 {step} 失败并已撤销：{error}{kept}"
    ),
    "; a copy from before lies at {copy}": "；此前的副本位于 {copy}",
    (
        "{path} {problem}. Nothing was changed. Put a good copy in its place ({ways}){also}, or choose an empty "
        "data_dir to begin anew"
    ): ("{path} {problem}。未作任何更改。请用完好的副本替换（{ways}）{also}，或选择空的 data_dir 重新开始"),
    "is missing or empty, but this data folder was in use": "缺失或为空，而此数据目录曾在使用",
    "is damaged ({problem})": "已损坏（{problem}）",
    "copies found: {backups}": "找到的副本：{backups}",
    "no copy of it was found in the data folder": "数据目录中没有找到副本",
    " and take {left} away, which belong to the old one": "，并移走属于旧文件的 {left}",
    # a regional client, and what it installs
    "--regional-url {shown}: write http://HOST:8081, the address of the regional client": (
        "--regional-url {shown}：请写区域客户端的地址 http://HOST:8081"
    ),
    "-mac names one machine; leave it out with -count": "-mac 指定一台机器；使用 -count 时请省略",
    "-{name} belongs to --mode simulate": "-{name} 属于 --mode simulate",
    "-ca-file, -cert-file or -key-file cannot be used: {error}": (
        "-ca-file、-cert-file 或 -key-file 无法使用：{error}"
    ),
    "-data_dir {folder}: {trouble}; choose a folder that can be written": (
        "-data_dir {folder}：{trouble}；请选择可写的目录"
    ),
    "-dhcp full: say which addresses to give: -pool FIRST-LAST": "-dhcp full：请指定可分配的地址：-pool FIRST-LAST",
    "-dhcp: DHCP answers on one interface only; name it with -interface": (
        "-dhcp：DHCP 只在一个网络接口上应答；请用 -interface 指定"
    ),
    "-idc: say which data centre this is, such as -idc dc1": "-idc：请指定这是哪个数据中心，例如 -idc dc1",
    "-store: say where the keys are, such as -store https://master.example:8443 or an etcd": (
        "-store：请指定键值存储的位置，例如 -store https://master.example:8443 或一个 etcd"
    ),
    "-store: {url!r} is no address; write http://HOST:PORT or https://HOST:PORT": (
        "-store：{url!r} 不是地址；请写 http://HOST:PORT 或 https://HOST:PORT"
    ),
    "-relayed {network}: it overlaps {other}, which has a pool already": (
        "-relayed {network}：与已有地址池的 {other} 重叠"
    ),
    "-relayed {text!r}: write NETWORK/BITS:FIRST-LAST[:GATEWAY], such as {example}": (
        "-relayed {text!r}：请写 NETWORK/BITS:FIRST-LAST[:GATEWAY]，例如 {example}"
    ),
    "-relayed {text!r}: {error}; write it such as {example}": "-relayed {text!r}：{error}；写法例如 {example}",
    "{flag} {text}: it must be a range of hosts in {network}, such as {example}": (
        "{flag} {text}：必须是 {network} 中的主机范围，例如 {example}"
    ),
    "{flag}: {address!r} is no IPv4 address": "{flag}：{address!r} 不是 IPv4 地址",
    "interface {name!r} has no IPv4 address ({trouble})": "网络接口 {name!r} 没有 IPv4 地址（{trouble}）",
    "{what}: there is no interface {name!r}; this machine has {names}": (
        "{what}：没有网络接口 {name!r}；本机有 {names}"
    ),
    "{what} binds to one network interface, which only Linux can; switch it off on {platform}": (
        "{what} 需绑定到一个网络接口，只有 Linux 支持；请在 {platform} 上关闭它"
    ),
    "{where} cannot be opened: {trouble}": "无法打开 {where}：{trouble}",
    "{where} is in use: stop the other server there, or switch this one off": (
        "{where} 已被占用：请停止那里的其他服务器，或关闭此功能"
    ),
    "{where} needs the right to low ports: run as root or with CAP_NET_BIND_SERVICE": (
        "{where} 需要使用低端口的权限：请以 root 身份或带 CAP_NET_BIND_SERVICE 运行"
    ),
    "another regional client is already running on {folder}; stop it or choose another -data_dir": (
        "另一个区域客户端已在 {folder} 上运行；请停止它，或换一个 -data_dir"
    ),
    (
        "{path}, line {number}: no event ({error}); they are nowhere else: mend the line, or move the file away "
        "to go on without them"
    ): ("{path} 第 {number} 行：不是事件（{error}）；这些事件别处没有：请修正该行，或移走文件后不带它们继续"),
}
