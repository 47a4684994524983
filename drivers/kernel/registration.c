// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Two PCI drivers for one kind of device. The first brings a domain of its own and therefore manages the DMA
 * of its group itself; the other lives on the group's default domain. Neither takes a device by its ID: only
 * what is written into driver_override binds.
 */
#include <linux/module.h>
#include <linux/pci.h>

#include "bound.h"

/* All devices, so that the wrong one gets an answer; none by itself. No MODULE_DEVICE_TABLE: nothing loads the
 * module unasked. */
static const struct pci_device_id ids[] = {
    {PCI_DEVICE_DRIVER_OVERRIDE(PCI_ANY_ID, PCI_ANY_ID, true)},
    {},
};

static int own_probe(struct pci_dev* pci, const struct pci_device_id* id) { return dmatoll_probe(pci, true); }

static int linux_probe(struct pci_dev* pci, const struct pci_device_id* id) {
    return dmatoll_probe(pci, false);
}

static struct pci_driver own_driver = {
    .id_table = ids,
    .probe = own_probe,
    .remove = dmatoll_remove,
    .shutdown = dmatoll_shutdown,
    .driver_managed_dma = true,
    .dev_groups = dmatoll_device_groups,
};

static struct pci_driver linux_driver = {
    .id_table = ids,
    .probe = linux_probe,
    .remove = dmatoll_remove,
    .shutdown = dmatoll_shutdown,
    .dev_groups = dmatoll_device_groups,
};

int dmatoll_register_drivers(void) {
    int error;

    own_driver.name = dmatoll_kind.own_driver;
    linux_driver.name = dmatoll_kind.linux_driver;
    error = pci_register_driver(&own_driver);
    if (error) return error;
    error = pci_register_driver(&linux_driver);
    if (error) pci_unregister_driver(&own_driver);
    return error;
}

void dmatoll_unregister_drivers(void) {
    pci_unregister_driver(&linux_driver);
    pci_unregister_driver(&own_driver);
}
