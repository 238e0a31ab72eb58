/* SPDX-License-Identifier: Apache-2.0
 *
 * Constants of sin on [-pi/2, pi/2]: pi in three parts whose products with whole numbers below 2^13 are exact, and the
 * Taylor coefficients (the first one left out is 6.1e-8 at pi/2). */
#ifndef QWEN3_TTS_SINE_H
#define QWEN3_TTS_SINE_H

#define SINE_LIMIT 8192.0f
#define SINE_INVERSE_PI 0.31830988618379067f
#define SINE_PI_1 3.140625f
#define SINE_PI_2 9.67502593994140625e-4f
#define SINE_PI_3 1.509957990978376e-7f
#define SINE_C3 (-1.6666666666666666e-1f)
#define SINE_C5 8.333333333333333e-3f
#define SINE_C7 (-1.984126984126984e-4f)
#define SINE_C9 2.7557319223985893e-6f
#define SINE_C11 (-2.505210838544172e-8f)

#endif
