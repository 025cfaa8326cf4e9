#!/bin/sh
# Boots stowaway without an operating system. Usage: qemu.sh [IMAGE.iso ...] [BOOT ARGUMENT ...], such as: qemu.sh export=/ram:rw
# NFS is then at 127.0.0.1:2049: mount -t nfs 127.0.0.1:/ram /mnt
# With the word http and another ,hostfwd=tcp:127.0.0.1:8080-:80 after the last one: http://127.0.0.1:8080/
# Images are its disks. Boots the machines of a bridge from them: NET=bridge,br=br0 qemu.sh boot debian.iso
# (NET is a -netdev of QEMU; for br0, /etc/qemu/bridge.conf has the line: allow br0)
words=serve disk=0
for word; do
    shift
    if [ -f "$word" ]; then
        disk=$((disk + 1))
        set -- "$@" -drive "if=none,id=disk$disk,file=$word,format=raw,readonly=on" -device "virtio-blk-device,drive=disk$disk"
    else
        words="$words $word"
    fi
done
set -- -M microvm,pit=off,pic=off,rtc=on,x-option-roms=off -cpu max -m 64 -nodefaults -no-user-config -no-reboot -display none \
    -device virtio-net-device,netdev=net -kernel "$(dirname "$0")/../x86_64/stowaway" "$@"
# QEMU falls back to emulation if /dev/kvm is missing, but aborts where KVM refuses a register of the processor, and stops where KVM
# cannot carry out an instruction (nested machines): try it for a second.
accel=tcg
if { sleep 1; echo info status; echo quit; } |
    qemu-system-x86_64 "$@" -accel kvm -netdev user,id=net -monitor stdio -append "serve export=/ram" |
    grep -q 'status: running'; then
    accel=kvm
fi 2>/dev/null
exec qemu-system-x86_64 "$@" -accel $accel -serial mon:stdio -netdev "${NET:-user,hostfwd=tcp:127.0.0.1:2049-:2049},id=net" -append "$words"
