#!/run/vm/busybox sh
# The first program in the new root: finishes the system, runs /run/vm/command, reports its status, switches the machine off.
# Nothing reads the console unless a shell was asked for. Settings: TREE, LIMIT (seconds), SHELL_WANTED, ROWS, COLUMNS.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
bb=/run/vm/busybox
. /run/vm/settings

echo "vm: finishing the system"
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
for link in fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2; do
    [ -e "/dev/${link%%:*}" ] || ln -s "${link#*:}" "/dev/${link%%:*}"
done
hostname tunlb-vm
$bb ip link set lo up
ulimit -Hn 524288 && ulimit -Sn 65536

echo "vm: waiting for the ports"
# Their numbers depend on what other devices there are; their names are ours.
until [ -e /run/vm/port.control ] && [ -e /run/vm/port.stdout ] && [ -e /run/vm/port.stderr ]; do
    for port in /sys/class/virtio-ports/*; do
        read -r name 2>/dev/null <"$port/name" && [ -e "/dev/${port##*/}" ] && ln -sf "/dev/${port##*/}" "/run/vm/port.$name"
    done
    $bb sleep 0.05
done
say() { echo "$*" >/run/vm/port.control; }

# A hang is looked at from inside while it lasts: who runs, who waits for what.
watchdog() {
    $bb sleep "$LIMIT"
    say hung
    {
        echo "vm: the limit of $LIMIT s has passed; what runs:"
        $bb ps -o pid,ppid,stat,args | $bb grep -v ' \[\| /run/vm/busybox' | $bb cut -c 1-160
        echo w >/proc/sysrq-trigger
    } >/dev/console 2>&1
    $bb sleep 2
    finish
}
finish() {
    sync
    umount "$TREE/target"
    $bb poweroff -f
}

echo "vm: ready"
say booted
if [ -n "$SHELL_WANTED" ]; then
    $bb stty -F /dev/ttyS0 rows "$ROWS" cols "$COLUMNS"
    setsid -c /bin/sh /run/vm/command </dev/ttyS0 >/dev/ttyS0 2>&1
    status=$?
else
    watchdog &
    # Through pipes: the ports can be opened only once, and programs open /dev/stderr.
    mkfifo /run/vm/stdout /run/vm/stderr
    $bb cat /run/vm/stdout >/run/vm/port.stdout & stdout=$!
    $bb cat /run/vm/stderr >/run/vm/port.stderr & stderr=$!
    /bin/sh /run/vm/command </dev/null >/run/vm/stdout 2>/run/vm/stderr
    status=$?
    # Something that the command left behind may hold them open for ever.
    for turn in 1 2 3 4 5 6 7 8 9 10; do
        kill -0 $stdout 2>/dev/null || kill -0 $stderr 2>/dev/null || break
        $bb sleep 0.1
    done
fi
say "exit $status"
finish
