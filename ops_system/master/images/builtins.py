"""The templates that come with the product: one for each kind of installer. Profiles begin with a copy of one.

Root has no password and cannot get one over the network: it is locked, and the profile's SSH keys open it. Only the
approved disk is named, found anew by its serial or WWN in the installer itself; none or two of them end it (P2).
"""

from ops_system.model.catalogue import TemplateKind
from ops_system.model.system_files import CARRIED, CARRIED_ON, WORKER_CONFIG, WORKER_DATA, WORKER_HOME

_FIND_DISK = (
    "norm() { tr 'A-Z ' 'a-z_' | sed 's/^0x//;s/^naa[.]//;s/^eui[.]//'; }; "
    "want=$(echo {{ disks[0].id | shell }} | norm); found=; "
    "for d in /sys/block/*; do n=${d##*/}; "
    "for id in $(udevadm info -q property -n /dev/$n 2>/dev/null "
    "| sed -n -r 's/^ID_(SERIAL|SERIAL_SHORT|SCSI_SERIAL|WWN|WWN_WITH_EXTENSION)=//p' | norm); do "
    'if [ "$id" = "$want" ]; then found="$found /dev/$n"; break; fi; done; done; '
    "set -- $found; "
    'if [ $# -ne 1 ]; then echo "disk $want: $# found, nothing is written" >&2; exit 1; fi; disk=$1'
)
"""Sets `disk` in a POSIX shell with udev, as in every installer. No backslash: a preseed would join its lines there."""


def _take_worker(source: str, target: str) -> str:
    """Put into the new system what the agent gave the installer to carry; nothing where there is none."""
    return f"if [ -d {source} ]; then cp -a {source}/. {target}/ || true; fi"


_RELABEL = f"restorecon -R {WORKER_HOME} {WORKER_CONFIG} {WORKER_DATA} /etc/systemd/system || true"

_KICKSTART = """\
# {{ os_type }} {{ os_version }} on {{ sn }} in {{ idc }}
text
reboot
lang {{ values.locale | default("en_US.UTF-8") | line }}
keyboard --xlayouts={{ values.keyboard | default("us") | line }}
timezone {{ values.timezone | default("UTC") | line }} --utc
{% if values.mirror is defined %}
url --url={{ values.mirror | line }}
{% endif %}
{% if network.interfaces %}
{% for card in network.interfaces %}
{% if not card.ip %}
network --device={{ card.mac | line }} --bootproto=dhcp --onboot=yes --activate
{% elif card.is_ipv6 %}
network --device={{ card.mac | line }} --noipv4 --ipv6={{ card.address | line }}\
{{ " --ipv6gateway=" ~ card.gateway if card.gateway }} --onboot=yes --activate
{% else %}
network --device={{ card.mac | line }} --bootproto=static --ip={{ card.ip | line }} \
--netmask={{ card.netmask | line }}{{ " --gateway=" ~ card.gateway if card.gateway }}\
{{ " --nameserver=" ~ (network.dns | join(",")) if network.dns }} --onboot=yes --activate
{% endif %}
{% endfor %}
network --hostname={{ hostname | line }}
{% else %}
network --bootproto=dhcp --device=link --activate --hostname={{ hostname | line }}
{% endif %}
rootpw --lock
selinux --enforcing
firewall --enabled --ssh
services --enabled=sshd
firstboot --disable
skipx
zerombr
%include /tmp/ops-disk.ks

%packages
@core
openssh-server
curl
{% for package in packages %}
{{ package | line }}
{% endfor %}
%end

%pre --erroronfail --log=/tmp/ops-pre.log
{% if callback_url %}
curl -fsS -m 20 -X POST {{ (callback_url ~ "/started") | shell }} || true
{% endif %}
@FIND_DISK@
cat >/tmp/ops-disk.ks <<END
ignoredisk --only-use=${disk#/dev/}
clearpart --all --initlabel --drives=${disk#/dev/}
bootloader --boot-drive=${disk#/dev/}
autopart --type={{ values.partitioning | default("lvm") | line }} --nohome
END
%end

%post
mkdir -p -m 700 /root/.ssh
{% for key in ssh_keys %}
echo {{ key | shell }} >>/root/.ssh/authorized_keys
{% endfor %}
restorecon -R /root/.ssh || true
%end

%post --nochroot
@TAKE_WORKER@
chroot /mnt/sysimage @RELABEL@
{% if callback_url %}
curl -fsS -m 20 --retry 5 -X POST {{ callback_url | shell }} || true
{% endif %}
%end
"""

_PRESEED = """\
# {{ os_type }} {{ os_version }} on {{ sn }} in {{ idc }}
d-i debian-installer/locale string {{ values.locale | default("en_US.UTF-8") | line }}
d-i keyboard-configuration/xkb-keymap select {{ values.keyboard | default("us") | line }}
d-i netcfg/choose_interface select auto
d-i netcfg/get_hostname string {{ hostname | line }}
d-i netcfg/get_domain string {{ values.domain | default("") | line }}
d-i netcfg/hostname string {{ hostname | line }}
d-i hw-detect/load_firmware boolean true
{% if callback_url %}
d-i preseed/early_command string wget -q -T 20 -t 3 -O /dev/null --post-data=started \
{{ (callback_url ~ "/started") | shell }} || true
{% endif %}
d-i mirror/country string manual
d-i mirror/protocol string http
d-i mirror/http/hostname string {{ values.mirror_host | default("deb.debian.org") | line }}
d-i mirror/http/directory string {{ values.mirror_path | default("/debian") | line }}
d-i mirror/http/proxy string {{ values.proxy | default("") | line }}
{% if codename %}
d-i mirror/suite string {{ codename }}
{% endif %}
d-i passwd/root-login boolean true
d-i passwd/root-password-crypted password !
d-i passwd/make-user boolean false
d-i clock-setup/utc boolean true
d-i time/zone string {{ values.timezone | default("UTC") | line }}
d-i clock-setup/ntp boolean true
d-i partman/early_command string @FIND_DISK@; \
debconf-set partman-auto/disk "$disk"; debconf-set grub-installer/bootdev "$disk"\
{% if callback_url %}; wget -q -T 20 -t 1 -O /dev/null --post-data=disks \
{{ (callback_url ~ "/disks") | shell }} || true{% endif %}

d-i partman-auto/method string {{ values.partitioning | default("lvm") | line }}
d-i partman-auto/choose_recipe select atomic
d-i partman-auto-lvm/guided_size string max
d-i partman-lvm/device_remove_lvm boolean true
d-i partman-md/device_remove_md boolean true
d-i partman-lvm/confirm boolean true
d-i partman-lvm/confirm_nooverwrite boolean true
d-i partman-partitioning/confirm_write_new_label boolean true
d-i partman-partitioning/choose_label select gpt
d-i partman/default_label string gpt
d-i partman-efi/non_efi_system boolean true
d-i partman/choose_partition select finish
d-i partman/confirm boolean true
d-i partman/confirm_nooverwrite boolean true
d-i apt-setup/cdrom/set-first boolean false
tasksel tasksel/first multiselect
d-i pkgsel/include string openssh-server wget{% for package in packages %} {{ package | line }}{% endfor %}

d-i pkgsel/upgrade select full-upgrade
popularity-contest popularity-contest/participate boolean false
d-i grub-installer/only_debian boolean true
d-i grub-installer/with_other_os boolean false
d-i finish-install/reboot_in_progress note
d-i preseed/late_command string mkdir -p -m 700 /target/root/.ssh; \
{% for key in ssh_keys %}echo {{ key | shell }} >>/target/root/.ssh/authorized_keys; {% endfor %}\
{% for card in network.interfaces if card.ip %}for d in /sys/class/net/*; do \
if [ "$(cat $d/address)" = {{ card.mac | lower | shell }} ]; then n=${d##*/}; \
{ echo "auto $n"; echo "iface $n {{ "inet6" if card.is_ipv6 else "inet" }} static"; \
echo "  address {{ card.address | line }}"; \
{% if card.gateway %}echo "  gateway {{ card.gateway | line }}"; {% endif %}\
{% if network.dns %}echo "  dns-nameservers {{ network.dns | join(" ") | line }}"; {% endif %}\
} >/target/etc/network/interfaces.d/$n; \
sed -i "/hotplug $n$/d;/iface $n /d" /target/etc/network/interfaces; fi; done; {% endfor %}\
@TAKE_WORKER@; \
{% if callback_url %}\
in-target wget -q -T 20 -t 3 -O /dev/null --post-data=done {{ callback_url | shell }} || true\
{% else %}true{% endif %}

"""

_AUTOINSTALL = """\
#cloud-config
# {{ os_type }} {{ os_version }} on {{ sn }} in {{ idc }}
autoinstall:
  version: 1
  locale: {{ values.locale | default("en_US.UTF-8") | json }}
  keyboard:
    layout: {{ values.keyboard | default("us") | json }}
  timezone: {{ values.timezone | default("UTC") | json }}
  refresh-installer:
    update: false
{% if network.interfaces %}
  network:
    version: 2
    ethernets:
{% for card in network.interfaces %}
      card{{ loop.index0 }}:
        match:
          macaddress: {{ card.mac | lower | json }}
{% if not card.ip %}
        dhcp4: true
{% else %}
        addresses: [{{ card.address | json }}]
{% if card.gateway %}
        routes:
          - to: default
            via: {{ card.gateway | json }}
{% endif %}
{% if network.dns %}
        nameservers:
          addresses: {{ network.dns | json }}
{% endif %}
{% endif %}
{% endfor %}
{% endif %}
{% if values.mirror is defined %}
  apt:
    primary:
      - arches: [default]
        uri: {{ values.mirror | json }}
{% endif %}
  early-commands:
{% if callback_url %}
    - |
      curl -fsS -m 20 -X POST {{ (callback_url ~ "/started") | shell }} || true
{% endif %}
    - |
      @FIND_DISK@; sed -i "s#OPS_APPROVED_DISK#$disk#" /autoinstall.yaml
  storage:
    layout:
      name: {{ values.partitioning | default("lvm") | json }}
      match:
        path: OPS_APPROVED_DISK
  ssh:
    install-server: true
    allow-pw: false
  packages: {{ packages | json }}
  updates: security
  shutdown: reboot
  user-data:
    hostname: {{ hostname | json }}
    disable_root: false
    users:
      - name: root
        lock_passwd: true
        ssh_authorized_keys: {{ ssh_keys | json }}
  late-commands:
    - |
      @TAKE_WORKER@
{% if callback_url %}
      curl -fsS -m 20 --retry 5 -X POST {{ callback_url | shell }} || true
{% endif %}
"""

_TEXTS: dict[TemplateKind, tuple[str, str]] = {
    "kickstart": (_KICKSTART, _take_worker(CARRIED_ON, "/mnt/sysimage")),
    "preseed": (_PRESEED, _take_worker(CARRIED, "/target")),
    "autoinstall": (_AUTOINSTALL, _take_worker(CARRIED_ON, "/target")),
}
BUILTINS: dict[TemplateKind, str] = {
    kind: text.replace("@FIND_DISK@", _FIND_DISK).replace("@TAKE_WORKER@", taking).replace("@RELABEL@", _RELABEL)
    for kind, (text, taking) in _TEXTS.items()
}
