#!/bin/busybox sh
# The first program in the virtual machine: makes a root of the host's (read-only, over 9p) and a layer of memory above it, then
# leaves for second.sh in there. Settings come from /settings: TREE, RELEASE, MODULES.
/bin/busybox --install -s /bin
export PATH=/bin
die() { echo "vm: $*" >/dev/console; sleep 1; poweroff -f; }

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
. /settings

echo "vm: loading modules"
for module in /modules/*; do
    insmod "$module" || die "cannot load $module"
done

echo "vm: mounting the host's root"
# What the host changes meanwhile is not seen (cache=loose); reading is several times faster for it.
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro root /ro || die "cannot mount the host's root"
mount -t tmpfs -o mode=755 tmpfs /rw
mkdir -p /rw/root /rw/root.work /rw/tree /rw/tree.work
mount -t overlay -o "lowerdir=/ro,upperdir=/rw/root,workdir=/rw/root.work" overlay /newroot || die "cannot layer the root"

mount -t tmpfs -o mode=1777 tmpfs /newroot/tmp
mount -t tmpfs -o mode=755 tmpfs /newroot/run
mkdir -p /newroot/run/lock /newroot/run/vm

echo "vm: mounting the working tree"
# By itself, because it may lie where something else has just been mounted.
mkdir -p "/newroot$TREE"
mount -t overlay -o "lowerdir=/ro$TREE,upperdir=/rw/tree,workdir=/rw/tree.work" overlay "/newroot$TREE" || die "cannot layer the tree"
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose target "/newroot$TREE/target" || die "cannot mount target"
mkdir -p "/newroot/lib/modules/$RELEASE"
mount --bind "/newroot$MODULES" "/newroot/lib/modules/$RELEASE" || die "cannot mount the modules"

echo "vm: entering the new root"
for folder in proc sys dev; do
    mount --move "/$folder" "/newroot/$folder"
done
cp /bin/busybox /settings /environment /command /second.sh /newroot/run/vm/
exec switch_root /newroot /run/vm/second.sh
