/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The parts of the e1000 family, for the modules that drive one. */
#pragma once

#ifdef __cplusplus
#include <cstdint>
extern "C" {
#else
#include <linux/types.h>
#endif

struct pci_dev;

/* parts.cpp: by PCI identifiers; NULL: not one that the core drives. */
const char* dmatoll_part_name(uint16_t vendor, uint16_t device);
/* Those that it drives, the nth; false behind the last. */
bool dmatoll_part_at(unsigned int n, const char** name, uint16_t* vendor, uint16_t* device);

/* part.c: its name; NULL: none of ours, which the log then says. */
const char* dmatoll_part_of(struct pci_dev* pci);

#ifdef __cplusplus
}
#endif
