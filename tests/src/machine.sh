# A machine of its own for systemd: the namespaces are made, this is their first process.
# $1 a folder to become the root, $2 the folder with the programs under test, which become
# /opt/bascule. Nothing of the machine around it can be changed: /usr is read-only, all else is
# in memory.
set -eu
root=$1
programs=$2
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p usr etc/systemd/system var/log tmp run proc sys dev opt/bascule old srv root
for name in bin sbin lib lib64; do
    if [ -L "/$name" ]; then cp -P "/$name" .; else mkdir "$name"; mount --bind -o ro "/$name" "$name"; fi
done
mount --bind /usr usr
mount -o remount,bind,ro usr
mount --bind "$programs" opt/bascule
mount -o remount,bind,ro opt/bascule
cp -r /etc/ld.so.* /etc/nsswitch.conf /etc/passwd /etc/group etc/
echo 0123456789abcdef0123456789abcdef > etc/machine-id
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do
    : > "dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
: > dev/console
mount --bind /dev/null dev/console
mkdir dev/shm dev/mqueue dev/hugepages dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 none sys/fs/cgroup
ip link set lo up

# No unit of the machine around: only what a service needs to be started.
units=etc/systemd/system
for name in sysinit multi-user network-online shutdown sockets; do
    printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$name" > "$units/$name.target"
done
printf '[Unit]\nDefaultDependencies=no\nRequires=sysinit.target sockets.target\nAfter=sysinit.target sockets.target\n' \
    > "$units/basic.target"
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nWants=systemd-journald.service\n' \
    > "$units/multi-user.target"
for name in journald.service journald.socket journald-dev-log.socket; do
    cp "/usr/lib/systemd/system/systemd-$name" "$units/"
done

pivot_root . old
cd /
umount -l /old
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=test \
    SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/systemd/system \
    SYSTEMD_GENERATOR_PATH=/nothing SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/nothing \
    /lib/systemd/systemd --system --log-target=console --show-status=no --unit=multi-user.target \
    < /dev/null
