# SPDX-License-Identifier: BSD-2-Clause
# What the kernel's build forces upon the compiler, for a user process: so that a difference in instructions per
# packet between the placements can be told apart from one between compiler flags.
#
# Derived from what kbuild passes for the module's core (Debian's 6.12, in .nic.o.cmd beside the built module). Its
# switches for warnings are left out, and:
# - -mcmodel=kernel, -fno-PIE: the addresses of the kernel's half; relative addressing takes as many instructions.
# - -mpreferred-stack-boundary=3: the C library keeps values on a stack that is aligned to 16.
# - -mskip-rax-setup: the C library's variadic functions look into RAX.
# - -fshort-wchar: another ABI than the C library's.
# - -fno-asynchronous-unwind-tables, -fno-exceptions, -fno-rtti, -ffreestanding: setting the driver up throws. No
#   instruction on the data path depends on them.
# - -pg -mrecord-mcount -mfentry: the call at each function's entry is a NOP as long as nobody traces; one NOP
#   stands there here, too. -fpatchable-function-entry=16,16 lays its NOPs before the entry, where nothing runs.
#
# Thunks are the compiler's own and not the kernel's, which patches those at boot: into a plain return, jump or call
# where the CPU needs no mitigation (`environment.vulnerabilities` in the record tells), and otherwise into what that
# CPU needs. Here they stay what they are in the file: three instructions more for a return, and for an indirect
# jump or call.
set(kernel_like_options
    -O2
    -mno-sse -mno-sse2 -mno-mmx -mno-3dnow -mno-avx -mno-80387 -mno-fp-ret-in-387
    -fno-jump-tables
    -mindirect-branch=thunk -mindirect-branch-register -mindirect-branch-cs-prefix -mfunction-return=thunk
    -mharden-sls=all -fcf-protection=branch
    -mno-red-zone
    -falign-functions=16 -falign-jumps=1 -falign-loops=1
    -fpatchable-function-entry=1
    -fstack-protector-strong -fno-stack-clash-protection -ftrivial-auto-var-init=zero -fconserve-stack
    -fno-strict-aliasing -fno-strict-overflow -fno-delete-null-pointer-checks -fno-allow-store-data-races
    -funsigned-char)
