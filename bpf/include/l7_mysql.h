/* SPDX-License-Identifier: Apache-2.0 */
#ifndef YAGURA_L7_MYSQL_H
#define YAGURA_L7_MYSQL_H

#include "l7.h"

/* Whether a connection's first bytes of a direction are of this protocol. */
static __always_inline bool mysql_is(struct l7_look *l)
{
	return false;
}

static __always_inline void mysql_look(struct l7_conn *c, struct l7_half *h, struct l7_look *l, struct l7_verdict *v)
{
	v->lost = 1;
}

#endif
