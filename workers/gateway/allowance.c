/*
 * How often a client may do something.
 */
#include "gateway/allowance.h"

Grant
allowance_take(Allowance *allowance, int at_once, int each_second, int64_t now)
{
	if (allowance->at == 0)
		allowance->left = at_once;
	else
		allowance->left += (double) (now - allowance->at) * each_second / 1000;
	if (allowance->left > at_once)
		allowance->left = at_once;
	allowance->at = now;
	allowance->left -= 1;
	if (allowance->left >= 0)
		return GRANTED;
	return allowance->left > -at_once ? GRANT_REFUSED : GRANT_ENDED;
}
