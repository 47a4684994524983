// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Whether a device is one of the e1000 family, and which. */
#include <linux/pci.h>

#include "part.h"

const char* dmatoll_part_of(struct pci_dev* pci) {
    const char* name = dmatoll_part_name(pci->vendor, pci->device);
    u16 vendor, device;
    char known[128] = "";
    size_t used = 0;
    unsigned int i;

    if (name) return name;
    for (i = 0; dmatoll_part_at(i, &name, &vendor, &device); i++)
        used += scnprintf(known + used, sizeof(known) - used, "%s %s, %04x:%04x", i ? ";" : "", name, vendor,
                          device);
    dev_err(&pci->dev, "%04x:%04x is not a device that this driver knows: it drives the%s\n", pci->vendor,
            pci->device, known);
    return NULL;
}
