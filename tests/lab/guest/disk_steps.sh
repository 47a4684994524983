# SPDX-License-Identifier: BSD-2-Clause
#
# What is done to the disk $kept in every placement. File systems are $good long.
same_files() { echo 3 >/proc/sys/vm/drop_caches && (cd /mnt && sha1sum -c /tmp/sums | grep -v ': OK$'; sha1sum -c -s /tmp/sums); }
# Filled to its end.
file_system() {
    mkfs.ext4 -q "$kept" $good && mount -t ext4 "$kept" /mnt || return 1
    file=0
    while dd if=/dev/urandom of=/mnt/$file bs=64k count=12 2>/dev/null; do file=$((file + 1)); done
    [ $file -ge 8 ] || return 2
    (cd /mnt && sha1sum [0-9]* >/tmp/sums)
    umount /mnt && fsck.ext4 -fn "$kept" || return 3
    mount -t ext4 "$kept" /mnt || return 4
    same_files || return 5
    umount /mnt
}
not_zero() { dd if="$kept" bs=1M count=4 iflag=direct 2>/dev/null | tr -d '\0' | wc -c; }
discarded() { [ "$(not_zero)" -gt 0 ] && blkdiscard -o 0 -l 4M "$kept" && [ "$(not_zero)" -eq 0 ]; }
