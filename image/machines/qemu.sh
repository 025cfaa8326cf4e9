#!/bin/sh
# Boots stowaway without an operating system. Usage: qemu.sh [BOOT ARGUMENT ...], such as: qemu.sh export=/ram:rw
# NFS is then at 127.0.0.1:2049: mount -t nfs -o vers=3,nolock,tcp,port=2049,mountport=2049 127.0.0.1:/ram /mnt
# A disk: add -drive if=none,id=disk,file=IMAGE.iso,format=raw,readonly=on -device virtio-blk-device,drive=disk
here=$(dirname "$0")
# QEMU falls back to emulation if /dev/kvm is missing, but aborts where KVM refuses a register of the processor (nested machines).
accel=tcg
if echo quit | qemu-system-x86_64 -M microvm -accel kvm -cpu max -nodefaults -display none -monitor stdio -S; then
    accel=kvm
fi >/dev/null 2>&1
exec qemu-system-x86_64 -M microvm,pit=off,pic=off,rtc=on,x-option-roms=off -accel $accel -cpu max -m 64 \
    -nodefaults -no-user-config -no-reboot -display none -serial mon:stdio \
    -netdev user,id=net,hostfwd=tcp:127.0.0.1:2049-:2049 -device virtio-net-device,netdev=net \
    -kernel "$here/../x86_64/stowaway" -append "serve $*"
