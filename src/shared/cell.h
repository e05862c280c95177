/*
 * A cell packs all features of an item that do not change with time into one small integer, so
 * that within a cell the order is by deadline for any weights. Pure C.
 *
 * Bits, from the lowest: revenue level's low 2, vip 1, boost 3, risk 2 | revenue level's high 3,
 * big 1, severity-1 incident 1, kind 6, slot 4. The low 8 are the cell within its group: a group
 * (cell >> 8) holds cells of one kind with alike revenue. "Slot" sets a crowded group key apart
 * (0 for all others), so that its rows can be passed over at once.
 */
#ifndef AURORA_CELL_H
#define AURORA_CELL_H

#include <stdbool.h>
#include <stdint.h>

#define AURORA_CELL_GROUP_SHIFT 8
#define AURORA_KIND_MAX 64
#define AURORA_SLOT_MAX 16
#define AURORA_LEVEL_OF_REVENUE_MAX 31

typedef struct AuroraFeatures
{
	int kind;		   /* 0..63 */
	int revenue_level; /* 0..31 */
	bool big;
	bool vip;
	bool severe; /* an incident of severity 1 */
	int risk;	 /* 0..3 */
	int boost;	 /* -2..2 */
	int slot;	 /* 0..15 */
} AuroraFeatures;

extern int32_t aurora_cell_pack(const AuroraFeatures *features);
extern void aurora_cell_unpack(int32_t cell, AuroraFeatures *features);

/*
 * The revenue level of an expected value, which counts in half-octaves from the unit: 0 below
 * the unit, then 1 + floor(2 log2(value / unit)), at most 31.
 */
extern int aurora_cell_revenue_level(double value, double unit);

#endif
