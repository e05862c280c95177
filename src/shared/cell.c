/*
 * Packing of cells; see the header for the bits.
 */
#include "shared/cell.h"

#include <math.h>

int32_t
aurora_cell_pack(const AuroraFeatures *f)
{
	int32_t cell = f->slot;

	cell = cell << 6 | f->kind;
	cell = cell << 1 | f->severe;
	cell = cell << 1 | f->big;
	cell = cell << 3 | f->revenue_level >> 2;
	cell = cell << 2 | f->risk;
	cell = cell << 3 | (f->boost + 2);
	cell = cell << 1 | f->vip;
	cell = cell << 2 | (f->revenue_level & 3);
	return cell;
}

void
aurora_cell_unpack(int32_t cell, AuroraFeatures *f)
{
	f->revenue_level = (cell & 3) | ((cell >> 8 & 7) << 2);
	f->vip = cell >> 2 & 1;
	f->boost = (cell >> 3 & 7) - 2;
	f->risk = cell >> 6 & 3;
	f->big = cell >> 11 & 1;
	f->severe = cell >> 12 & 1;
	f->kind = cell >> 13 & 63;
	f->slot = cell >> 19 & 15;
}

/*
 * Compares with the edges themselves, since a logarithm may fall on the wrong side of one.
 */
int
aurora_cell_revenue_level(double value, double unit)
{
	const double root_of_two = 1.41421356237309504880;
	double ratio = value / unit;
	int level = 1;

	if (!(ratio >= 1.0))
		return 0;
	while (level < AURORA_LEVEL_OF_REVENUE_MAX &&
		   ratio >= ldexp(level % 2 ? root_of_two : 1.0, level / 2))
		level++;
	return level;
}
