/* Products of matrices, and filters of seven taps, with what follows them in a codec done while the result is still in
 * registers. `kernels.py` compiles this for the processor at hand and says what the functions are for.
 *
 * Sound lies in memory sample by sample, all channels of one beside each other, so that a filter's input is a matrix
 * whose rows overlap, and nothing has to be copied.
 */

#include <omp.h>
#include <stddef.h>

/* Of the result, as many as fit into sixteen vector registers with their operands. */
#define ROWS 6
#define COLUMNS 16
/* Of a product, at a time: a panel of so many by 16 weights stays in the first-level cache. */
#define DEPTH 256
/* Toom and Cook's tiles: see shortconv.py. */
#define POINTS 12
#define OUTPUTS 6

typedef float v8 __attribute__((vector_size(32), aligned(4)));

static inline v8 load(const float *from) { return *(const v8 *)from; }
static inline void store(float *to, v8 value) { *(v8 *)to = value; }
static inline v8 all(float x) { return (v8){x, x, x, x, x, x, x, x}; }

/* x + sin²(alpha x) / alpha. `turns` is alpha / pi: sin² has the period pi, so whole turns are taken off first; the
 * polynomial is that of sin(pi r) / r in r², |r| <= 1/2, fitted for the least relative error (5e-9). */
static inline v8 snake(v8 x, v8 turns, v8 scale)
{
    v8 r = x * turns, nearest = all(12582912.0f); /* 1.5 * 2^23, from where on floats are whole numbers */
    r -= (r + nearest) - nearest;
    v8 q = r * r;
    v8 s = all(7.756038691e-02f);
    s = s * q + all(-5.982421264e-01f);
    s = s * q + all(2.550069726e+00f);
    s = s * q + all(-5.167709685e+00f);
    s = s * q + all(3.141592637e+00f);
    s *= r;
    return x + scale * s * s;
}

/* What becomes of a product; pointers are NULL for what it does without. */
typedef struct {
    const float *bias;           /* [columns], is added */
    const float *residual;       /* [rows, columns], is added */
    float *out;                  /* gets the sum */
    float *snaked;               /* gets the Snake of it */
    const float *turns, *scale;  /* [columns], of the Snake */
    long columns;                /* from row to row of residual, out and snaked */
} Ending;

/* The last step of a tile of at most 6 x 16. */
static inline __attribute__((always_inline)) void finish(int rows, v8 sums[ROWS][2], const Ending *end, long row,
                                                         long column)
{
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
        for (int half = 0; half < 2; half++) {
            v8 y = sums[i][half];
            long c = column + 8 * half, at = (row + i) * end->columns + c;
            if (end->bias) y += load(end->bias + c);
            if (end->residual) y += load(end->residual + at);
            if (end->out) store(end->out + at, y);
            if (end->snaked) store(end->snaked + at, snake(y, load(end->turns + c), load(end->scale + c)));
        }
}

/* A tile of at most 6 x 16: partial += a[rows, depth] @ b[depth, 16], or with an ending, what that says. */
static inline __attribute__((always_inline)) void tile(int rows, long depth, const float *a, long stride,
                                                       const float *b, const float *next, float *partial, long columns,
                                                       int begin, const Ending *end, long row, long column)
{
    v8 sums[ROWS][2];
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
        for (int half = 0; half < 2; half++)
            sums[i][half] = begin ? all(0) : load(partial + i * columns + 8 * half);
    for (long k = 0; k < depth; k++) {
        __builtin_prefetch(next + COLUMNS * k, 0, 2);
        v8 left = load(b + COLUMNS * k), right = load(b + COLUMNS * k + 8);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) {
            v8 x = all(a[i * stride + k]);
            sums[i][0] += x * left;
            sums[i][1] += x * right;
        }
    }
    if (end) {
        finish(rows, sums, end, row, column);
        return;
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
        for (int half = 0; half < 2; half++)
            store(partial + i * columns + 8 * half, sums[i][half]);
}

/* The same for any number of rows. `next` is what will be needed of b after this. */
static void tiles(long rows, long depth, const float *a, long stride, const float *b, const float *next,
                  float *partial, long columns, int begin, const Ending *end, long row, long column)
{
    long i = 0;
    for (; i + ROWS <= rows; i += ROWS)
        tile(ROWS, depth, a + i * stride, stride, b, next, partial + i * columns, columns, begin, end, row + i, column);
    a += i * stride, partial += i * columns, row += i;
    switch (rows - i) {
    case 1: tile(1, depth, a, stride, b, next, partial, columns, begin, end, row, column); break;
    case 2: tile(2, depth, a, stride, b, next, partial, columns, begin, end, row, column); break;
    case 3: tile(3, depth, a, stride, b, next, partial, columns, begin, end, row, column); break;
    case 4: tile(4, depth, a, stride, b, next, partial, columns, begin, end, row, column); break;
    case 5: tile(5, depth, a, stride, b, next, partial, columns, begin, end, row, column); break;
    }
}

static inline long least(long x, long y) { return x < y ? x : y; }

/* a[rows, depth], from row to row `stride` (rows may overlap), times the panels b[columns / 16, depth, 16]; so many
 * rows (`block`) and columns (`width`) are one thread's work at a time. */
void product(long rows, long columns, long depth, const float *a, long stride, const float *b, const float *bias,
             const float *residual, float *out, float *snaked, const float *turns, const float *scale, long block,
             long width, long threads)
{
    const Ending ending = {bias, residual, out, snaked, turns, scale, columns};
    float *partial = out ? out : snaked;
#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(threads)
    for (long row = 0; row < rows; row += block)
        for (long first = 0; first < columns; first += width)
            for (long k = 0; k < depth; k += DEPTH) {
                long deep = least(depth - k, DEPTH);
                for (long column = first; column < least(first + width, columns); column += COLUMNS) {
                    const float *panel = b + column * depth + k * COLUMNS;
                    tiles(least(rows - row, block), deep, a + row * stride + k, stride, panel, panel + depth * COLUMNS,
                          partial + row * columns + column, columns, k == 0, k + deep == depth ? &ending : NULL, row,
                          column);
                }
            }
}

/* Products of whole numbers of 16 bits, two of which are multiplied and added in the time of one of floats. */

typedef int w8 __attribute__((vector_size(32), aligned(4)));
typedef short h16 __attribute__((vector_size(32), aligned(2)));
typedef int pair __attribute__((may_alias, aligned(2)));

/* Sums of products of neighbours. */
static inline w8 pairs(h16 x, h16 y)
{
#ifdef __AVX2__
    typedef short operand __attribute__((vector_size(32)));
    return (w8)__builtin_ia32_pmaddwd256((operand)x, (operand)y);
#else
    w8 sums;
    for (int i = 0; i < 8; i++) sums[i] = x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1];
    return sums;
#endif
}

/* whole[rows, columns] = x / scales[row], which makes the largest of a row `largest`. */
void quantise(long rows, long columns, const float *x, short *whole, float *scales, float largest, long threads)
{
#pragma omp parallel for num_threads(threads)
    for (long row = 0; row < rows; row++) {
        const float *from = x + row * columns;
        short *to = whole + row * columns;
        w8 most = {0}; /* without their signs, floats are in the order of their bits */
        for (long c = 0; c < columns; c += 8) {
            w8 size = (w8)load(from + c) & 0x7fffffff, larger = size > most;
            most = (size & larger) | (most & ~larger);
        }
        v8 sizes = (v8)most;
        float peak = 1e-20f;
        for (int i = 0; i < 8; i++) peak = sizes[i] > peak ? sizes[i] : peak;
        scales[row] = peak / largest;
        v8 factor = all(largest / peak), nearest = all(12582912.0f);
        for (long c = 0; c < columns; c += 8) {
            v8 rounded = (load(from + c) * factor + nearest) - nearest;
            w8 values = __builtin_convertvector(rounded, w8);
            typedef short h8 __attribute__((vector_size(16), aligned(2)));
            *(h8 *)(to + c) = __builtin_convertvector(values, h8);
        }
    }
}

static inline __attribute__((always_inline)) void whole_tile(int rows, long depth, const short *a, long stride,
                                                             const float *a_scales, long scale_stride, const short *b,
                                                             const short *next, const float *b_scales, float *partial,
                                                             long columns, int begin, const Ending *end, long row,
                                                             long column)
{
    w8 whole[ROWS][2];
    v8 sums[ROWS][2];
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
        whole[i][0] = whole[i][1] = (w8){0};
    for (long k = 0; k < depth; k += 2) {
        __builtin_prefetch(next + COLUMNS * k, 0, 2);
        h16 left = *(const h16 *)(b + COLUMNS * k), right = *(const h16 *)(b + COLUMNS * k + COLUMNS);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) {
            int two = *(const pair *)(a + i * stride + k);
            h16 x = (h16)(w8){two, two, two, two, two, two, two, two};
            whole[i][0] += pairs(x, left);
            whole[i][1] += pairs(x, right);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
        for (int half = 0; half < 2; half++) {
            v8 y = __builtin_convertvector(whole[i][half], v8) * all(a_scales[i * scale_stride]);
            if (!begin) y += load(partial + i * columns + 8 * half);
            if (end) y *= load(b_scales + column + 8 * half);
            else store(partial + i * columns + 8 * half, y);
            sums[i][half] = y;
        }
    if (end) finish(rows, sums, end, row, column);
}

/* The same as `product` of whole numbers: a[rows, depth] of which every `spread` values have a scale, panels
 * b[columns / 16, depth / 2, 16, 2] with a scale for every column. */
void whole_product(long rows, long columns, long depth, const short *a, long stride, const float *a_scales, long spread,
                   const short *b, const float *b_scales, const float *bias, float *out, long block, long width,
                   long threads)
{
    const Ending ending = {bias, NULL, out, NULL, NULL, NULL, columns};
#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(threads)
    for (long row = 0; row < rows; row += block)
        for (long first = 0; first < columns; first += width)
            for (long k = 0; k < depth; k += DEPTH) {
                long deep = least(depth - k, DEPTH), last = least(row + block, rows), step = stride / spread;
                const Ending *end = k + deep == depth ? &ending : NULL;
                for (long column = first; column < least(first + width, columns); column += COLUMNS) {
                    const short *panel = b + column * depth + k * COLUMNS, *next = panel + depth * COLUMNS;
                    long i = row;
#define TILE(count)                                                                                                    \
    whole_tile(count, deep, a + i * stride + k, stride, a_scales + i * step + k / spread, step, panel, next, b_scales, \
               out + i * columns + column, columns, k == 0, end, i, column)
                    for (; i + ROWS <= last; i += ROWS) TILE(ROWS);
                    switch (last - i) {
                    case 1: TILE(1); break;
                    case 2: TILE(2); break;
                    case 3: TILE(3); break;
                    case 4: TILE(4); break;
                    case 5: TILE(5); break;
                    }
                }
            }
}

/* x *= (1 + erf(x / sqrt 2)) / 2; the error function after Abramowitz and Stegun, 7.1.26 (1.5e-7). */
void gelu(long count, float *x, long threads)
{
#pragma omp parallel for num_threads(threads)
    for (long i = 0; i < count; i += 8) {
        v8 here = load(x + i), size = (v8)((w8)here & 0x7fffffff), z = size * all(0.70710678f);
        v8 power = z * z * all(-1.44269504f), nearest = all(12582912.0f); /* of two */
        w8 tiny = power < all(-120.0f);
        power = (v8)(((w8)all(-120.0f) & tiny) | ((w8)power & ~tiny));
        v8 whole = (power + nearest) - nearest, f = power - whole;
        v8 e = all(1.33335581e-3f);
        e = e * f + all(9.61812911e-3f);
        e = e * f + all(5.55041087e-2f);
        e = e * f + all(2.40226507e-1f);
        e = e * f + all(6.93147181e-1f);
        e = e * f + all(1.0f);
        e = (v8)((w8)e + (__builtin_convertvector(whole, w8) << 23));
        v8 t = all(1.0f) / (all(1.0f) + all(0.3275911f) * z), p = all(1.061405429f);
        p = p * t + all(-1.453152027f);
        p = p * t + all(1.421413741f);
        p = p * t + all(-0.284496736f);
        p = p * t + all(0.254829592f);
        store(x + i, all(0.5f) * (here + size * (all(1.0f) - p * t * e)));
    }
}

/* Values at the twelve points of twelve inputs, `apart` from each other, of eight channels. The matrix is that of
 * shortconv.py; the points but zero and infinity come in pairs of p and -p, whose rows differ in the signs of odd
 * columns, and which have nothing in the first and last column. */
static inline void evaluate(const float *x, long apart, const float *matrix, float *values, long next)
{
    v8 in[POINTS], zero = all(0), infinity = all(0);
#pragma GCC unroll 12
    for (int i = 0; i < POINTS; i++)
        in[i] = load(x + i * apart);
#pragma GCC unroll 6
    for (int i = 0; i < POINTS; i += 2) {
        zero += all(matrix[i]) * in[i];
        infinity += all(matrix[(POINTS - 1) * POINTS + i + 1]) * in[i + 1];
    }
    store(values, zero);
    store(values + (POINTS - 1) * next, infinity);
#pragma GCC unroll 5
    for (int p = 1; p < POINTS - 1; p += 2) {
        const float *row = matrix + p * POINTS;
        v8 even = all(row[2]) * in[2], odd = all(row[1]) * in[1];
#pragma GCC unroll 4
        for (int i = 3; i < POINTS - 2; i += 2) {
            odd += all(row[i]) * in[i];
            even += all(row[i + 1]) * in[i + 1];
        }
        store(values + p * next, even + odd);
        store(values + (p + 1) * next, even - odd);
    }
}

/* Six outputs of eight channels from the products at the twelve points. */
static inline void interpolate(const float *products, long next, const float *matrix, v8 bias, v8 outputs[OUTPUTS])
{
    v8 sums[POINTS / 2 - 1], differences[POINTS / 2 - 1];
#pragma GCC unroll 5
    for (int p = 0; p < POINTS / 2 - 1; p++) {
        v8 plus = load(products + (2 * p + 1) * next), minus = load(products + (2 * p + 2) * next);
        sums[p] = plus + minus;
        differences[p] = plus - minus;
    }
#pragma GCC unroll 6
    for (int j = 0; j < OUTPUTS; j++) {
        v8 y = bias;
        if (j == 0) y += load(products);
        if (j == OUTPUTS - 1) y += load(products + (POINTS - 1) * next);
#pragma GCC unroll 5
        for (int p = 0; p < POINTS / 2 - 1; p++)
            y += all(matrix[j * POINTS + 2 * p + 1]) * (j % 2 ? differences[p] : sums[p]);
        outputs[j] = y;
    }
}

/* snaked[samples, columns] = the Snake of a filter of seven taps over wave[…, channels], which begins 3 * dilation
 * samples before the first output and ends 9 * dilation after the last. `weights` are panels [12, columns / 16,
 * channels, 16]; `space` has 12 * block * (channels + columns) values for each thread. */
void short_filter(long samples, long channels, long columns, long dilation, const float *wave, const float *inputs,
                  const float *outputs, const float *weights, const float *bias, float *snaked, const float *turns,
                  const float *scale, float *space, long block, long threads)
{
    long step = OUTPUTS * dilation, count = (samples + step - 1) / step * dilation; /* tiles */
#pragma omp parallel num_threads(threads)
    {
        float *values = space + omp_get_thread_num() * POINTS * block * (channels + columns);
        float *products = values + POINTS * block * channels;
#pragma omp for schedule(dynamic)
        for (long first = 0; first < count; first += block) {
            long here = least(count - first, block);
            for (long t = 0; t < here; t++) {
                long start = (first + t) / dilation * step + (first + t) % dilation;
                for (long c = 0; c < channels; c += 8)
                    evaluate(wave + start * channels + c, dilation * channels, inputs, values + t * channels + c,
                             block * channels);
            }
            for (long p = 0; p < POINTS; p++)
                for (long k = 0; k < channels; k += DEPTH)
                    for (long column = 0; column < columns; column += COLUMNS) {
                        const float *panel = weights + (p * columns + column) * channels + k * COLUMNS;
                        tiles(here, least(channels - k, DEPTH), values + p * block * channels + k, channels, panel,
                              panel + channels * COLUMNS, products + p * block * columns + column, columns, k == 0,
                              NULL, 0, 0);
                    }
            for (long t = 0; t < here; t++) {
                long start = (first + t) / dilation * step + (first + t) % dilation;
                for (long c = 0; c < columns; c += 8) {
                    v8 y[OUTPUTS], w = load(turns + c), s = load(scale + c);
                    interpolate(products + t * columns + c, block * columns, outputs, load(bias + c), y);
                    for (int j = 0; j < OUTPUTS && start + j * dilation < samples; j++)
                        store(snaked + (start + j * dilation) * columns + c, snake(y[j], w, s));
                }
            }
        }
    }
}
