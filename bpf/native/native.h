/* SPDX-License-Identifier: Apache-2.0 */
/* What the parsers use of a kernel program's world, for when they compile natively. */
#ifndef YAGURA_NATIVE_H
#define YAGURA_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef long long s64;

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define barrier_var(x) asm volatile("" : "+r"(x))
#define ADDR(p) ((u64)(unsigned long)(p))

#include "../include/event.h"

#endif
