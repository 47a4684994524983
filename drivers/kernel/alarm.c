// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The timer behind a time bound that the core keeps. One of high resolution: a tick is as long as some bounds. */
#include <linux/hrtimer.h>
#include <linux/version.h>

#include "bound.h"

static enum hrtimer_restart ring(struct hrtimer* timer) {
    dmatoll_on_alarm(container_of(timer, struct dmatoll_bound, alarm));
    return HRTIMER_NORESTART;
}

void dmatoll_alarm_init(struct dmatoll_bound* bound) {
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
    hrtimer_setup(&bound->alarm, ring, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
#else
    hrtimer_init(&bound->alarm, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
    bound->alarm.function = ring;
#endif
}

void dmatoll_alarm_set(struct dmatoll_bound* bound, uint64_t nanoseconds) {
    hrtimer_start(&bound->alarm, ns_to_ktime(nanoseconds), HRTIMER_MODE_REL_SOFT);
}

void dmatoll_alarm_cancel(struct dmatoll_bound* bound) { hrtimer_cancel(&bound->alarm); }
