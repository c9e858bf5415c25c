#pragma once

// XXH3 of libxxhash, in the widest vectors that the machine has: the library's
// plain functions are those of the x86-64 baseline (11 GB/s from the cache
// where AVX-512 makes 55), its dispatching ones look at the processor first.

#ifndef XXH_STATIC_LINKING_ONLY
#define XXH_STATIC_LINKING_ONLY  // for a state on the stack
#endif
#include <xxhash.h>
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>
#endif
