# SPDX-License-Identifier: BSD-2-Clause
"""What a function is for: the groups into which a profile sums up functions.

The first rule that matches decides. Of our own code it is the source that decides, and with it the innermost inlined function: what
the compiler inlined into the driver is a strategy's all the same. In the kernel's own code what was inlined belongs to the function that
it was inlined into.
"""

import posixpath
import re

GROUPS = (
    "driver",
    "mapping",
    "iova",
    "page table",
    "invalidation",
    "ip stack",
    "block layer",
    "scsi and libata",
    "ublk",
    "io_uring",
    "tap and system calls",
    "scheduler",
    "copy",
    "interrupt",
    "memory",
    "locks and lists",
    "workload",
    "other",
)

# Objects that are for one thing as a whole: modules, programs, libraries.
OBJECTS = (
    ("driver", r"dmatoll-(net|disk|dma)-user.*|dmatoll_(net|blk|dma|dma_disk)|e1000e?|(lib)?ahci"),
    ("scsi and libata", r"libata|scsi_\w+|sd_mod"),
    ("ublk", r"ublk_drv"),
    ("io_uring", r"liburing.*"),
    ("tap and system calls", r"tun|tap|vfio\w*|irqbypass|\[vdso\]"),
    ("ip stack", r"ip_tables|nf_\w+|ipv6|tcp_\w+|af_packet|sch_\w+|veth"),
    ("workload", r"(?!kernel$).*"),
)

# Files of ours, below drivers/. What is in none of them, such as a ring's arithmetic, is for what the function around it is for.
SOURCES = (
    ("copy", r"core/copy\.hpp"),
    ("iova", r"mapping/iova/.*|kernel/(module/)?linux_iova\.hpp"),
    ("page table", r"kernel/(module/)?kernel_backend\.hpp|user/vfio_container\..*"),
    ("mapping", r"mapping/.*|kernel/(module/)?linux_dma\.hpp"),
    ("tap and system calls", r"user/(tap|tap_header|virtio_header)\..*"),
    ("ublk", r"user/ublk_\w+\..*"),
    ("io_uring", r"user/ring\..*"),
    ("driver", r"(e1000|ahci|dma|kernel|user)/.*"),
)

# The C half of the module, which has no inlined functions of ours.
MODULE = (
    ("page table", r"dmatoll_domain_(map|unmap|unmap_later)"),
    ("invalidation", r"dmatoll_domain_invalidate"),
    ("iova", r"dmatoll_iova_(allocate|free)"),
    ("mapping", r"dmatoll_dma_\w+|dmatoll_lock_\w+"),
    ("memory", r"dmatoll_(allocate|free|pages_\w+)"),
)

# Functions of the kernel proper. `_` at the end of a word stands for any ending.
KERNEL = (
    ("copy", """
        copy_ _copy_ __copy_ csum_and_copy_ csum_partial_ do_csum csum_ rep_movs_ rep_stos_ memcpy_ __memcpy memmove_ __memmove memset_
        __memset clear_page_ skb_copy_ __skb_datagram_iter simple_copy_to_iter check_stack_object check_heap_object __check_object_size
        __check_heap_object is_vmalloc_addr __virt_addr_valid
    """),
    ("invalidation", "qi_ cache_tag_ iommu_iotlb_ intel_iommu_tlb_ intel_flush_ fq_ring_ fq_flush_ iommu_dma_flush_ queue_iova iommu_flush_"),
    ("iova", "alloc_iova_ __alloc_and_insert_iova_ free_iova_ iova_ __iova_ iommu_dma_alloc_iova iommu_dma_free_iova private_find_iova remove_iova"),
    ("page table", """
        __domain_mapping domain_unmap_ domain_mapping_ dma_pte_ pfn_to_dma_pte intel_iommu_map_ intel_iommu_unmap_ iommu_map_ iommu_unmap_
        __iommu_map_ __iommu_unmap_ iommu_pgsize_ clflush_
    """),
    ("mapping", "dma_map_ dma_unmap_ iommu_dma_ dma_direct_ __dma_ dma_sync_ dma_pool_ iommu_ debug_dma_"),
    ("block layer", """
        blk_ __blk_ bio_ __bio_ submit_bio_ __submit_bio_ blkdev_ __blkdev_ bdev_ disk_ part_ sbitmap_ __sbitmap_ rq_qos_ bvec_ elv_ wbt_ block_ should_fail_bio
        update_io_ticks bdget_ I_BDEV dio_ __rq_qos_ kiocb_ _find_next_zero_bit kthread_blkcg
    """),
    ("interrupt", """
        asm_common_interrupt asm_sysvec_ sysvec_ common_interrupt_ __common_interrupt handle_edge_ handle_level_ handle_fasteoi_ handle_irq_ __handle_irq_
        handle_softirqs do_softirq_ __do_softirq __irq_ irq_ irqentry_ generic_handle_ note_interrupt add_interrupt_randomness fast_mix apic_
        native_apic_ native_eoi_ x2apic_ ioapic_ io_apic_ intel_ir_ msi_ lapic_ tick_ hrtimer_ __hrtimer_ timerqueue_ clockevents_ ktime_get_ read_tsc
        read_hpet run_timer_ __run_timers call_timer_ get_next_timer_ __get_next_timer_ error_entry error_return paranoid_ ct_ pci_check_and_set_ pci_conf1_
        pci_read pci_write pci_cfg_ restore_regs_ native_iret
        tasklet_ __tasklet_ workqueue_softirq_ sync_regs swapgs_restore_ early_xen_iret_
    """),
    ("scheduler", """
        schedule_ __schedule sched_ __sched_ try_to_wake_up ttwu_ wake_up_ __wake_up_ default_wake_ autoremove_wake_ woken_ enqueue_task_ enqueue_entity
        dequeue_task_ dequeue_entity dequeue_entities pick_ __pick_ put_prev_ set_next_ __set_next_ finish_task_ __switch_to_ switch_mm_ switch_fpu_ prepare_to_ finish_wait
        update_ __update_ cpuacct_ place_entity select_task_ select_idle_ check_preempt_ wakeup_preempt_ resched_ avg_vruntime vruntime_ entity_ __dequeue_entity __enqueue_entity idle_cpu reweight_ do_idle
        cpuidle_ cpu_idle_ default_idle_ call_cpuidle menu_ psi_ record_times nohz_ raw_spin_rq_ do_nanosleep hrtimer_nanosleep account_ rcu_ __rcu_ kick_process
        __calc_delta native_sched_clock local_clock_ mm_cid_ __rseq_ rseq_ save_fpregs_ restore_fpregs_ native_load_ xfd_ prepare_task_ dl_ need_update
        __task_rq_lock task_rq_lock requeue_delayed_ clear_delayed_ switch_ldt cr4_update_ arch_scale_ __wrgsbase_ __rdgsbase_ invalidate_user_asid hrtick_
    """),
    ("memory", """
        kmalloc_ __kmalloc_ kfree kmem_cache_ __kmem_ slab_ __slab_ ___slab_ build_detached_freelist alloc_pages_ __alloc_pages_ alloc_ free_ __free_ get_page_ put_page_
        __page_frag_ page_frag_ page_pool_ __page_pool_ rmqueue_ __rmqueue_ get_partial_ put_cpu_ gup_ pin_user_ unpin_user_ internal_get_user_ follow_ memcg_ mem_cgroup_ obj_cgroup_ __mod_ mod_ folio_ __folio_ lru_
        handle_mm_ __handle_mm_ do_user_addr_ exc_page_fault napi_alloc_ blkcg_
        try_get_folio try_grab_ is_valid_gup_args want_pages_array get_user_pages_ __pte_ pte_ pmd_ mempool_ this_cpu_cmpxchg16b_emu
    """),
    ("ip stack", """
        ip_ __ip_ ipv4_ tcp_ __tcp_ udp_ __udp_ udp4_ __udp4_ inet_ __inet_ sk_ __sk_ sock_ __sock_ skb_ __skb_ ___skb_ napi_ net_ __net_ netif_ __netif_ dev_ __dev_ neigh_ dst_ fib_ nf_
        eth_ gro_ validate_xmit_ qdisc_ __qdisc_ pfifo_ fq_codel_ __fq_codel_ __napi_ __consume_ __xfrm_ xfrm_ dql_ xmit_ process_backlog enqueue_to_backlog siphash_ rt_ raw_ packet_ tpacket_ loopback_ lock_sock_
        release_sock __release_sock __lock_sock_ datagram_ __build_skb_ build_skb_ consume_skb kfree_skb_ __kfree_skb_ __alloc_skb alloc_skb_ cubictcp_ bictcp_ compute_score jhash_
        sch_ page_to_ bpf_ security_sock_ security_socket_ apparmor_socket_ aa_sk_ aa_inet_ move_addr_ __sys_sendto __sys_recvfrom ____sys_ ___sys_ import_iovec
    """),
    ("io_uring", "io_ __io_ tctx_task_work_ task_work_ wake_on_ uring_"),
    ("tap and system calls", """
        do_syscall_ entry_ x64_sys_ __x64_sys_ syscall_ __do_sys_ __se_sys_ ksys_ vfs_ fdget_ __fdget_ __fget_ fget_ import_ubuf fput_ new_sync_ rw_verify_ do_iter_ iov_iter_ __import_iovec do_writev
        do_readv do_epoll_ ep_ __ep_ eventfd_ security_ apparmor_ aa_ fsnotify_ __fsnotify_ exit_to_user_ arch_exit_to_user_ do_select do_pselect_ __pollwait fpregs_assert_ __cond_resched core_sys_select kern_select poll_ do_poll_ do_sys_poll
        timerfd_ signalfd_ get_timespec64 put_timespec64 timespec64_ set_normalized_ set_user_sigmask get_sigset_ restore_saved_ file_ sockfd_ srso_ its_ retbleed_ __x86_
        virtqueue_ vring_ select_estimate_ max_select_fd remove_wait_queue add_wait_queue_
    """),
    # What all of them use.
    ("locks and lists", "_raw_spin_ _raw_read_ _raw_write_ __local_bh_ mutex_ __mutex_ down_ up_ __list_ llist_ rb_ __rb_"),
)


def pattern_of(words):
    return re.compile("|".join(re.escape(word[:-1]) + ".*" if word.endswith("_") else re.escape(word) for word in words.split()))


KERNEL_RULES = tuple((group, pattern_of(words)) for group, words in KERNEL)
OBJECT_RULES = tuple((group, re.compile(place)) for group, place in OBJECTS)
SOURCE_RULES = tuple((group, re.compile(source)) for group, source in SOURCES)
MODULE_RULES = tuple((group, re.compile(function)) for group, function in MODULE)
# The one routine that both placements copy by, where it is a function of its own.
OUR_COPY = re.compile(r"(.*::)?copy_bytes")


def source_group(frames):
    """(group, function) by the innermost of [(function, file)] whose file decides, or None."""
    for function, file in frames:
        below = re.search(r"(?:^|/)drivers/((?!.*/drivers/).*)$", posixpath.normpath(file))
        group = below and next((group for group, rule in SOURCE_RULES if rule.fullmatch(below[1])), None)
        if group:
            return group, function
    return None


def group_of(place, name):
    """The group of function `name` in the object `place`: `kernel`, a module, a program or a library."""
    if OUR_COPY.fullmatch(name):
        return "copy"
    if place == "kernel":
        name = re.sub(r"\.(isra|constprop|part|cold)\b.*", "", name)
        return next((group for group, rule in KERNEL_RULES if rule.fullmatch(name)), "other")
    if place in ("dmatoll_net", "dmatoll_blk", "dmatoll_dma", "dmatoll_dma_disk"):
        return next((group for group, rule in MODULE_RULES if rule.fullmatch(name)), "driver")
    return next((group for group, rule in OBJECT_RULES if rule.fullmatch(place)), "other")
