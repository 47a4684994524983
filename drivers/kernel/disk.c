// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The disk as the block layer sees it: its life, its limits, and requests on their way to the core and back.
 */
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/dma-mapping.h>
#include <linux/idr.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/version.h>

#include "dmatoll_blk.h"

/* What the block layer keeps for each tag. */
struct dmatoll_request {
    struct dmatoll_segment segments[DMATOLL_MOST_SEGMENTS];
};

static DEFINE_IDA(numbers);

/* ---- requests on their way to the device ---- */

/* Pieces of memory that are contiguous for the CPU. How many; 0: more than the limits allow for. */
static u32 list_segments(struct request* request, struct dmatoll_segment* segments) {
    struct req_iterator iterator;
    struct bio_vec piece;
    u32 count = 0;
    u64 end = 0;

    rq_for_each_bvec(piece, request, iterator) {
        u64 start = page_to_phys(piece.bv_page) + piece.bv_offset;

        if (count && start == end) {
            segments[count - 1].length += piece.bv_len;
        } else {
            if (unlikely(count == DMATOLL_MOST_SEGMENTS)) return 0;
            segments[count++] = (struct dmatoll_segment){.physical = start, .length = piece.bv_len};
        }
        end = start + piece.bv_len;
    }
    return count;
}

static blk_status_t refusal_status(int error) {
    switch (error) {
        case -EAGAIN:
            /* Tried again when another request has ended, and in any case after some milliseconds. The core
             * puts an end to that where nothing is left that could end. */
            return BLK_STS_RESOURCE;
        case -ENODEV:
            return BLK_STS_OFFLINE;
    }
    return BLK_STS_IOERR;
}

static blk_status_t queue_request(struct blk_mq_hw_ctx* queue, const struct blk_mq_queue_data* data) {
    struct dmatoll_disk* disk = queue->queue->queuedata;
    struct request* request = data->rq;
    struct dmatoll_disk_request wanted = {.first_block = blk_rq_pos(request) >> disk->block_shift,
                                          .blocks = blk_rq_sectors(request) >> disk->block_shift};
    struct dmatoll_segment* segments;
    int error;

    switch (req_op(request)) {
        case REQ_OP_READ:
        case REQ_OP_WRITE:
            segments = ((struct dmatoll_request*)blk_mq_rq_to_pdu(request))->segments;
            wanted.operation = rq_data_dir(request) == WRITE ? DMATOLL_WRITE : DMATOLL_READ;
            wanted.force_unit_access = wanted.operation == DMATOLL_WRITE && request->cmd_flags & REQ_FUA;
            wanted.segments = segments;
            wanted.segment_count = list_segments(request, segments);
            break;
        case REQ_OP_FLUSH:
        case REQ_OP_DRV_OUT: /* flush_cache()'s */
            wanted.operation = DMATOLL_FLUSH;
            break;
        case REQ_OP_DISCARD:
            wanted.operation = DMATOLL_TRIM;
            break;
        default:
            return BLK_STS_NOTSUPP;
    }
    /* Before it is submitted: it may be done before that returns. */
    blk_mq_start_request(request);
    error = dmatoll_hba_submit(disk->hba, disk->port, request->tag, &wanted);
    return likely(!error) ? BLK_STS_OK : refusal_status(error);
}

/* How long a request may take is the core's business: dmatoll_hba_watch() counts, and a recovery ends it. */
static enum blk_eh_timer_return on_timeout(struct request* request) { return BLK_EH_RESET_TIMER; }

static const struct blk_mq_ops operations = {
    .queue_rq = queue_request,
    .timeout = on_timeout,
};

/* ---- and back ---- */

/* What one call gives back. One request ends by itself; with more of them the block layer's batches are
 * cheaper. */
struct dmatoll_completion {
    struct blk_mq_tags* tags;
    struct request* only;
    struct io_comp_batch batch;
};

static blk_status_t outcome_status(enum dmatoll_outcome outcome) {
    switch (outcome) {
        case DMATOLL_DONE:
            return BLK_STS_OK;
        case DMATOLL_MEDIUM_ERROR:
        case DMATOLL_REFUSED:
            /* BLK_STS_MEDIUM would be ENODATA to who reads, and at user level the disk can say EIO only. */
            return BLK_STS_IOERR;
        case DMATOLL_TRANSPORT_ERROR:
            return BLK_STS_TRANSPORT;
        case DMATOLL_TIMED_OUT:
            return BLK_STS_TIMEOUT;
        case DMATOLL_GONE:
            return BLK_STS_OFFLINE;
    }
    return BLK_STS_IOERR;
}

static void add_to_batch(struct dmatoll_completion* completion, struct request* request) {
    /* Not one with an error, nor one that an I/O scheduler has seen. */
    if (!blk_mq_add_to_batch(request, &completion->batch, false, blk_mq_end_request_batch))
        blk_mq_end_request(request, BLK_STS_OK);
}

void dmatoll_request_done(struct dmatoll_completion* completion, uint32_t tag, enum dmatoll_outcome outcome) {
    struct request* request = blk_mq_tag_to_rq(completion->tags, tag);

    if (unlikely(outcome != DMATOLL_DONE)) {
        blk_mq_end_request(request, outcome_status(outcome));
        return;
    }
    if (completion->only) add_to_batch(completion, completion->only);
    completion->only = request;
}

void dmatoll_request_done_at_once(struct dmatoll_completion* completion, uint32_t tag,
                                  enum dmatoll_outcome outcome) {
    blk_mq_end_request(blk_mq_tag_to_rq(completion->tags, tag), outcome_status(outcome));
}

static void completion_begin(struct dmatoll_completion* completion, struct dmatoll_disk* disk) {
    *completion = (struct dmatoll_completion){.tags = disk->tags.tags[0]};
}

static void completion_end(struct dmatoll_completion* completion) {
    if (!completion->only) return;
    if (!completion->batch.complete) {
        blk_mq_end_request(completion->only, BLK_STS_OK);
        return;
    }
    add_to_batch(completion, completion->only);
    completion->batch.complete(&completion->batch);
}

u32 dmatoll_disk_complete(struct dmatoll_disk* disk) {
    struct dmatoll_completion completion;
    bool failed;
    u32 count;

    completion_begin(&completion, disk);
    count = dmatoll_hba_complete(disk->hba, disk->port, &completion, &failed);
    completion_end(&completion);
    if (unlikely(failed)) queue_work(dmatoll_workqueue, &disk->recovery);
    return count;
}

static void recover(struct work_struct* work) {
    struct dmatoll_disk* disk = container_of(work, struct dmatoll_disk, recovery);
    struct dmatoll_completion completion;

    completion_begin(&completion, disk);
    dmatoll_hba_recover(disk->hba, disk->port, &completion);
    /* It may be due again, and then nobody else would tell: the port is silent. */
    dmatoll_disk_complete(disk);
}

static void watch(struct work_struct* work) {
    struct dmatoll_disk* disk = container_of(to_delayed_work(work), struct dmatoll_disk, watch);
    struct dmatoll_completion completion;
    bool failed;

    completion_begin(&completion, disk);
    failed = dmatoll_hba_watch(disk->hba, disk->port, &completion);
    completion_end(&completion);
    if (unlikely(failed)) queue_work(dmatoll_workqueue, &disk->recovery);
    queue_delayed_work(dmatoll_workqueue, &disk->watch, msecs_to_jiffies(DMATOLL_WATCH_PERIOD_MS));
}

/* ---- the disk's life ---- */

static const struct block_device_operations disk_operations = {
    .owner = THIS_MODULE,
};

static struct queue_limits limits_of(const struct dmatoll_disk_description* is, struct device* device) {
    struct queue_limits limits = {
        .logical_block_size = is->block_bytes,
        .physical_block_size = is->physical_block_bytes,
        .max_hw_sectors =
            min_t(size_t, DMATOLL_MOST_TRANSFER_BYTES, dma_max_mapping_size(device)) >> SECTOR_SHIFT,
        .max_segments = DMATOLL_MOST_SEGMENTS,
        /* A page is the least that is mapped: with no gap inside of pages a request is one range of IOVAs. */
        .virt_boundary_mask = DMATOLL_PAGE_BYTES - 1,
        .dma_alignment = 1, /* addresses of memory are even [AHCI 4.2.3.3] */
    };

    if (is->write_cache && is->flush) limits.features |= BLK_FEAT_WRITE_CACHE;
    if (is->force_unit_access) limits.features |= BLK_FEAT_FUA;
    if (is->rotational) limits.features |= BLK_FEAT_ROTATIONAL;
    if (is->most_trim_ranges) {
        /* One range a request: it is cut into as many as it takes. */
        limits.max_discard_segments = 1;
        limits.max_hw_discard_sectors = (is->most_trim_ranges * DMATOLL_MOST_TRIM_BLOCKS)
                                        << (ilog2(is->block_bytes) - SECTOR_SHIFT);
        limits.discard_granularity = is->physical_block_bytes;
    }
    return limits;
}

int dmatoll_disk_add(struct dmatoll_blk* blk, u32 port) {
    const struct dmatoll_disk_description is = dmatoll_hba_disk(blk->hba, port);
    struct device* device = &blk->bound.pci->dev;
    struct queue_limits limits = limits_of(&is, device);
    struct dmatoll_disk* disk = kzalloc(sizeof(*disk), GFP_KERNEL);
    int error;

    if (!disk) return -ENOMEM;
    disk->hba = blk->hba;
    disk->port = port;
    disk->block_shift = ilog2(is.block_bytes) - SECTOR_SHIFT;
    INIT_DELAYED_WORK(&disk->watch, watch);
    INIT_WORK(&disk->recovery, recover);
    disk->number = ida_alloc(&numbers, GFP_KERNEL);
    if (disk->number < 0) {
        error = disk->number;
        goto free;
    }
    disk->tags = (struct blk_mq_tag_set) {
        .ops = &operations, .nr_hw_queues = 1, .queue_depth = is.queue_depth,
        .numa_node = dev_to_node(device), .cmd_size = sizeof(struct dmatoll_request),
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 14, 0)
        .flags = BLK_MQ_F_SHOULD_MERGE,
#endif
    };
    error = blk_mq_alloc_tag_set(&disk->tags);
    if (error) goto free_number;
    disk->gendisk = blk_mq_alloc_disk(&disk->tags, &limits, disk);
    if (IS_ERR(disk->gendisk)) {
        error = PTR_ERR(disk->gendisk);
        goto free_tags;
    }
    disk->gendisk->fops = &disk_operations;
    disk->gendisk->private_data = disk;
    snprintf(disk->gendisk->disk_name, DISK_NAME_LEN, "dmatoll%d", disk->number);
    set_capacity(disk->gendisk, is.blocks << disk->block_shift);
    /* From here on it is the adapter's, with an error as without. */
    blk->disks[port] = disk;
    queue_delayed_work(dmatoll_workqueue, &disk->watch, msecs_to_jiffies(DMATOLL_WATCH_PERIOD_MS));
    error = device_add_disk(device, disk->gendisk, NULL);
    if (error) return error;
    disk->visible = true;
    dev_info(device, "%s: port %u, %s, serial %s, firmware %s, %llu blocks of %u bytes, queue depth %u\n",
             disk->gendisk->disk_name, port, is.model, is.serial, is.firmware, is.blocks, is.block_bytes,
             is.queue_depth);
    return 0;

free_tags:
    blk_mq_free_tag_set(&disk->tags);
free_number:
    ida_free(&numbers, disk->number);
free:
    kfree(disk);
    return error;
}

void dmatoll_disk_remove(struct dmatoll_disk* disk) {
    if (!disk->visible) return;
    /* A disk that is not there any more is not asked to take what is not written yet. */
    if (!dmatoll_hba_present(disk->hba, disk->port)) blk_mark_disk_dead(disk->gendisk);
    /* Waits for what is outstanding: the core ends all of it in time. */
    del_gendisk(disk->gendisk);
}

void dmatoll_disk_shut_down(struct dmatoll_disk* disk) {
    if (!disk->visible) return;
    blkdev_issue_flush(disk->gendisk->part0);
    blk_mark_disk_dead(disk->gendisk);
    blk_mq_freeze_queue(disk->gendisk->queue);
}

void dmatoll_disk_stop_work(struct dmatoll_disk* disk) {
    /* Not only cancelled: the completion, which still runs, may ask for a recovery. */
    disable_delayed_work_sync(&disk->watch);
    disable_work_sync(&disk->recovery);
}

void dmatoll_disk_start_work(struct dmatoll_disk* disk) {
    enable_work(&disk->recovery);
    enable_delayed_work(&disk->watch);
    queue_work(dmatoll_workqueue, &disk->recovery);
    queue_delayed_work(dmatoll_workqueue, &disk->watch, msecs_to_jiffies(DMATOLL_WATCH_PERIOD_MS));
}

/* ---- and its sleep ---- */

/* The block layer has a way around a queue that takes nothing else, for requests that are none of its own. */
static int flush_cache(struct dmatoll_disk* disk) {
    struct request* request = blk_mq_alloc_request(disk->gendisk->queue, REQ_OP_DRV_OUT, BLK_MQ_REQ_PM);
    blk_status_t status;

    if (IS_ERR(request)) return PTR_ERR(request);
    status = blk_execute_rq(request, false);
    blk_mq_free_request(request);
    return blk_status_to_errno(status);
}

static void wait_for_outstanding(struct request_queue* queue) {
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 14, 0)
    blk_mq_freeze_queue(queue);
    blk_mq_unfreeze_queue(queue);
#else
    blk_mq_unfreeze_queue(queue, blk_mq_freeze_queue(queue));
#endif
}

int dmatoll_disk_suspend(struct dmatoll_disk* disk) {
    int error = 0;

    blk_set_pm_only(disk->gendisk->queue);
    wait_for_outstanding(disk->gendisk->queue);
    if (dmatoll_hba_present(disk->hba, disk->port) && dmatoll_hba_disk(disk->hba, disk->port).flush)
        error = flush_cache(disk);
    if (error) dmatoll_disk_resume(disk);
    return error;
}

void dmatoll_disk_resume(struct dmatoll_disk* disk) { blk_clear_pm_only(disk->gendisk->queue); }

void dmatoll_disk_free(struct dmatoll_disk* disk) {
    put_disk(disk->gendisk);
    blk_mq_free_tag_set(&disk->tags);
    ida_free(&numbers, disk->number);
    kfree(disk);
}
