/* Products of matrices, and filters of seven taps, with what follows them in a codec done while the result is still in
 * registers. `compile.py` compiles this for the processor at hand; `ops.py` says what the functions are for.
 *
 * Sound lies in memory sample by sample, all channels of one beside each other, so that a filter's input is a matrix
 * whose rows overlap, and nothing has to be copied.
 *
 * A product's sums are made in the same order whatever the number of rows or threads, and in vectors of any width. So
 * a row's result depends on nothing but that row.
 */

#include <omp.h>
#include <stddef.h>

/* Floats in a vector; and of a tile, as many rows as fit with their operands into sixteen or thirty-two registers, where
 * each row has two vectors. */
#ifdef __AVX512F__
#define WIDTH 16
#define ROWS 12
#else
#define WIDTH 8
#define ROWS 6
#endif
/* Of a panel of weights, which holds them as a tile reads them. */
#define COLUMNS 16
/* Of a product, at a time: so much of the weights of a tile stays in the first-level cache. */
#define DEPTH 256
/* Toom and Cook's tiles: see ops.py. */
#define POINTS 12
#define OUTPUTS 6

#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(4 * WIDTH), aligned(4)));
typedef int vi __attribute__((vector_size(4 * WIDTH), aligned(4)));

static inline vf load(const float *from) { return *(const vf *)from; }
static inline void store(float *to, vf value) { *(vf *)to = value; }
static inline vf all(float x) { return x - (vf){0}; }
static inline long min(long x, long y) { return x < y ? x : y; }

/* x + sin²(alpha x) / alpha. `turns` is alpha / pi: sin² has the period pi, so whole turns are taken off first; the
 * polynomial is that of sin(pi r) / r in r², |r| <= 1/2, fitted for the least relative error (5e-9). */
static inline vf snake(vf x, vf turns, vf scale)
{
    vf r = x * turns, nearest = all(12582912.0f); /* 1.5 * 2^23, from where on floats are integers */
    r -= (r + nearest) - nearest;
    vf q = r * r;
    vf s = all(7.756038691e-02f);
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

/* The last step of a tile. */
INLINE void finish(int rows, int vectors, vf sums[ROWS][2], const Ending *end, long row, long column)
{
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++) {
            vf y = sums[i][v];
            long c = column + WIDTH * v, at = (row + i) * end->columns + c;
            if (end->bias) y += load(end->bias + c);
            if (end->residual) y += load(end->residual + at);
            if (end->out) store(end->out + at, y);
            if (end->snaked) store(end->snaked + at, snake(y, load(end->turns + c), load(end->scale + c)));
        }
}

/* What a tile multiplies. */
typedef struct {
    const float *a; /* of row i and tap t: depth values from a + i * stride + t * jump */
    long stride, taps, jump, depth;
    const float *b; /* the first vector's panel [taps, depth, 16] */
    long apart;     /* from the first vector's weights to the second's */
    long next;      /* to what will be needed of b after this */
} Factors;

/* partial += a @ b, or with an ending, what that says; of rows and vectors that the compiler knows. */
INLINE void tile(int rows, int vectors, const Factors *of, long i0, float *partial, long columns, int begin,
                 const Ending *end, long row, long column)
{
    vf sums[ROWS][2];
    const float *a = of->a + i0 * of->stride, *b = of->b;
    long stride = of->stride, apart = of->apart, next = of->next;
    partial += i0 * columns;
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++)
            sums[i][v] = all(0);
    for (long tap = 0; tap < of->taps; tap++, a += of->jump)
        for (long k = 0; k < of->depth; k++, b += COLUMNS) {
            vf weights[2];
            for (int v = 0; v < vectors; v++) {
                weights[v] = load(b + v * apart);
                if (v == 0 || WIDTH == COLUMNS) __builtin_prefetch(b + v * apart + next, 0, 2);
            }
#pragma GCC unroll 12
            for (int i = 0; i < rows; i++) {
                vf x = all(a[i * stride + k]);
                for (int v = 0; v < vectors; v++)
                    sums[i][v] += x * weights[v];
            }
        }
    /* Sums of sums round less than one long sum. */
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++) {
            if (!begin) sums[i][v] += load(partial + i * columns + WIDTH * v);
            if (!end) store(partial + i * columns + WIDTH * v, sums[i][v]);
        }
    if (end) finish(rows, vectors, sums, end, row + i0, column);
}

/* Calls TILE(rows, i) for all rows: as many large tiles as there can be, then smaller ones for what is left. */
#define EACH_TILE(count, TILE)                                                                                         \
    do {                                                                                                               \
        long i = 0, many = (count);                                                                                    \
        for (; i + ROWS <= many; i += ROWS) TILE(ROWS, i);                                                             \
        for (; i + 4 <= many; i += 4) TILE(4, i);                                                                      \
        for (; i < many; i++) TILE(1, i);                                                                              \
    } while (0)

/* The same for any number of rows, and all columns of one or two vectors. */
static void tiles(long rows, int vectors, const Factors *of, float *partial, long columns, int begin,
                  const Ending *end, long row, long column)
{
#define TWO(count, i) tile(count, 2, of, i, partial, columns, begin, end, row, column)
#define ONE(count, i) tile(count, 1, of, i, partial, columns, begin, end, row, column)
    if (vectors == 2) EACH_TILE(rows, TWO);
    else EACH_TILE(rows, ONE);
#undef TWO
#undef ONE
}

/* How many vectors a tile has of the columns that are left, and how many columns those are. */
static inline int vectors_of(long columns) { return columns >= 2 * WIDTH ? 2 : columns / WIDTH; }

/* A matrix of rows and columns' sums: row i has `taps` times `depth` values from a + i * stride, the taps `jump` apart,
 * and all may overlap. The panels are b[columns / 16, taps * depth, 16]. */
typedef struct {
    const float *a;
    long stride, taps, jump, depth;
    const float *b;
} Product;

/* So many rows of a product from `row` on, and the columns from `first` to `last`. */
static void multiply(const Product *of, long row, long rows, long first, long last, const Ending *ending)
{
    const long depth = of->depth, whole = of->taps * depth, at_once = depth < DEPTH ? DEPTH / depth : 1; /* taps */
    float *partial = ending->out ? ending->out : ending->snaked;
    for (long tap = 0; tap < of->taps; tap += at_once)
        for (long k = 0; k < depth; k += DEPTH) {
            Factors part = {.a = of->a + row * of->stride + tap * of->jump + k, .stride = of->stride};
            part.taps = min(of->taps - tap, at_once), part.jump = of->jump, part.depth = min(depth - k, DEPTH);
            const Ending *end = tap + part.taps == of->taps && k + part.depth == depth ? ending : NULL;
            for (long column = first; column < last;) {
                int vectors = vectors_of(last - column);
                part.b = of->b + column * whole + (tap * depth + k) * COLUMNS;
                part.apart = WIDTH == COLUMNS ? whole * COLUMNS : WIDTH;
                part.next = vectors * WIDTH * whole;
                tiles(rows, vectors, &part, partial + row * ending->columns + column, ending->columns, tap + k == 0,
                      end, row, column);
                column += vectors * WIDTH;
            }
        }
}

/* All of a product. So many rows (`block`) and columns (`width`) are one thread's work at a time. */
void matmul(long rows, long columns, long taps, long jump, long depth, const float *a, long stride, const float *b,
             const float *bias, const float *residual, float *out, float *snaked, const float *turns,
             const float *scale, long block, long width, long threads)
{
    const Ending ending = {bias, residual, out, snaked, turns, scale, columns};
    const Product of = {a, stride, taps, jump, depth, b};
#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(threads)
    for (long row = 0; row < rows; row += block)
        for (long first = 0; first < columns; first += width)
            multiply(&of, row, min(rows - row, block), first, min(first + width, columns), &ending);
}

/* Where the smallest of so many values is, the first if there are several. */
static long argmin(long count, const float *values)
{
    vf best = load(values);
    vi lane, at;
    for (int i = 0; i < WIDTH; i++) lane[i] = i;
    at = lane;
    for (long c = WIDTH; c < count; c += WIDTH) {
        vf here = load(values + c);
        vi less = here < best;
        best = (vf)((less & (vi)here) | (~less & (vi)best));
        at = (less & (lane + (int)c)) | (~less & at);
    }
    int found = 0;
    for (int i = 1; i < WIDTH; i++)
        if (best[i] < best[found] || (best[i] == best[found] && at[i] < at[found])) found = i;
    return at[found];
}

/* Of each of points[rows, depth], which of the entries is nearest: b are panels of -2 times them, and `squares` their
 * lengths, squared. `space` has block * entries values for each thread. */
void nearest(long rows, long entries, long depth, const float *points, const float *b, const float *squares,
             float *space, long *codes, long block, long threads)
{
#pragma omp parallel num_threads(threads)
    {
        const Ending ending = {.bias = squares, .out = space + omp_get_thread_num() * block * entries, .columns = entries};
#pragma omp for schedule(dynamic)
        for (long row = 0; row < rows; row += block) {
            const Product of = {.a = points + row * depth, .stride = depth, .taps = 1, .depth = depth, .b = b};
            long here = min(rows - row, block);
            multiply(&of, 0, here, 0, entries, &ending);
            for (long i = 0; i < here; i++)
                codes[row + i] = argmin(entries, ending.out + i * entries);
        }
    }
}

/* Products of int16, two of which are multiplied and added in the time of one of floats. */

typedef short vh __attribute__((vector_size(4 * WIDTH), aligned(2)));
typedef int pair __attribute__((may_alias, aligned(2)));

/* sums + products of neighbours. */
static inline vi pairs(vi sums, vh x, vh y)
{
#if defined __AVX512VNNI__
    typedef int whole __attribute__((vector_size(4 * WIDTH)));
    return (vi)__builtin_ia32_vpdpwssd_v16si((whole)sums, (whole)x, (whole)y);
#elif defined __AVX512BW__
    typedef short operand __attribute__((vector_size(4 * WIDTH)));
    typedef int whole __attribute__((vector_size(4 * WIDTH)));
    return sums + (vi)__builtin_ia32_pmaddwd512_mask((operand)x, (operand)y, (whole){0}, 0xffff);
#elif defined __AVX2__ && !defined __AVX512F__
    typedef short operand __attribute__((vector_size(4 * WIDTH)));
    return sums + (vi)__builtin_ia32_pmaddwd256((operand)x, (operand)y);
#else
    for (int i = 0; i < WIDTH; i++) sums[i] += x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1];
    return sums;
#endif
}

/* whole[rows, columns] = x / scales[row], which makes the largest of a row `largest`. */
void quantize(long rows, long columns, const float *x, short *whole, float *scales, float largest, long threads)
{
#pragma omp parallel for num_threads(threads)
    for (long row = 0; row < rows; row++) {
        const float *from = x + row * columns;
        short *to = whole + row * columns;
        vi most = {0}; /* without their signs, floats are in the order of their bits */
        for (long c = 0; c < columns; c += WIDTH) {
            vi size = (vi)load(from + c) & 0x7fffffff, larger = size > most;
            most = (size & larger) | (most & ~larger);
        }
        vf sizes = (vf)most;
        float peak = 1e-20f;
        for (int i = 0; i < WIDTH; i++) peak = sizes[i] > peak ? sizes[i] : peak;
        scales[row] = peak / largest;
        vf factor = all(largest / peak), nearest = all(12582912.0f);
        for (long c = 0; c < columns; c += WIDTH) {
            vf rounded = (load(from + c) * factor + nearest) - nearest;
            vi values = __builtin_convertvector(rounded, vi);
            typedef short half __attribute__((vector_size(2 * WIDTH), aligned(2)));
            *(half *)(to + c) = __builtin_convertvector(values, half);
        }
    }
}

/* As `Factors`, of int16 and one tap. */
typedef struct {
    const short *a;
    long stride, depth;
    const float *a_scales;
    long scale_stride;
    const short *b;
    long apart, next;
    const float *b_scales;
} Int16Factors;

INLINE void int16_tile(int rows, int vectors, const Int16Factors *of, long i0, float *partial, long columns, int begin,
                       const Ending *end, long row, long column)
{
    vi whole[ROWS][2];
    vf sums[ROWS][2];
    const short *a = of->a + i0 * of->stride, *b = of->b;
    long stride = of->stride, apart = of->apart, next = of->next;
    partial += i0 * columns;
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++)
            whole[i][v] = (vi){0};
    for (long k = 0; k < of->depth; k += 2, b += 2 * COLUMNS) {
        vh weights[2];
        for (int v = 0; v < vectors; v++) {
            weights[v] = *(const vh *)(b + v * apart);
            if (v == 0 || WIDTH == COLUMNS) __builtin_prefetch(b + v * apart + next, 0, 2);
        }
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            vh x = (vh)(*(const pair *)(a + i * stride + k) - (vi){0});
            for (int v = 0; v < vectors; v++)
                whole[i][v] = pairs(whole[i][v], x, weights[v]);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++) {
            vf y = __builtin_convertvector(whole[i][v], vf) * all(of->a_scales[(i0 + i) * of->scale_stride]);
            if (!begin) y += load(partial + i * columns + WIDTH * v);
            if (end) y *= load(of->b_scales + column + WIDTH * v);
            else store(partial + i * columns + WIDTH * v, y);
            sums[i][v] = y;
        }
    if (end) finish(rows, vectors, sums, end, row + i0, column);
}

/* The same as `matmul` of int16: a[rows, depth] of which every `spread` values have a scale, panels
 * b[columns / 16, depth / 2, 16, 2] with a scale for every column. */
void int16_matmul(long rows, long columns, long depth, const short *a, long stride, const float *a_scales, long spread,
                   const short *b, const float *b_scales, const float *bias, float *out, long block, long width,
                   long threads)
{
    const Ending ending = {bias, NULL, out, NULL, NULL, NULL, columns};
#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(threads)
    for (long row = 0; row < rows; row += block)
        for (long first = 0; first < columns; first += width)
            for (long k = 0; k < depth; k += DEPTH) {
                long step = stride / spread, last = min(first + width, columns);
                Int16Factors of = {.a = a + row * stride + k, .stride = stride, .depth = min(depth - k, DEPTH)};
                of.a_scales = a_scales + row * step + k / spread, of.scale_stride = step, of.b_scales = b_scales;
                const Ending *end = k + of.depth == depth ? &ending : NULL;
                for (long column = first; column < last;) {
                    int vectors = vectors_of(last - column);
                    of.b = b + column * depth + k * COLUMNS;
                    of.apart = WIDTH == COLUMNS ? depth * COLUMNS : 2 * WIDTH;
                    of.next = vectors * WIDTH * depth;
#define TWO(count, i)                                                                                                  \
    int16_tile(count, 2, &of, i, out + row * columns + column, columns, k == 0, end, row, column)
#define ONE(count, i)                                                                                                  \
    int16_tile(count, 1, &of, i, out + row * columns + column, columns, k == 0, end, row, column)
                    if (vectors == 2) EACH_TILE(min(rows - row, block), TWO);
                    else EACH_TILE(min(rows - row, block), ONE);
#undef TWO
#undef ONE
                    column += vectors * WIDTH;
                }
            }
}

/* The sum over rows of a vector of columns, or of what lies between them and `mean`, squared. */
INLINE vf sum_of(long rows, long columns, const float *x, vf mean, int squared)
{
    vf total = all(0);
    for (long first = 0; first < rows; first += DEPTH) { /* sums of sums, as above */
        vf sum = all(0);
        for (long row = first; row < min(first + DEPTH, rows); row++) {
            vf here = load(x + row * columns) - mean;
            sum += squared ? here * here : here;
        }
        total += sum;
    }
    return total;
}

/* Makes the mean of each column of x[rows, columns] its bias, and its standard deviation its weight. */
void instance_norm(long rows, long columns, float *x, const float *weight, const float *bias, float epsilon, long threads)
{
#pragma omp parallel for num_threads(threads)
    for (long c = 0; c < columns; c += WIDTH) {
        vf mean = sum_of(rows, columns, x + c, all(0), 0) / all(rows);
        vf variance = sum_of(rows, columns, x + c, mean, 1) / all(rows), factor;
        for (int i = 0; i < WIDTH; i++) factor[i] = weight[c + i] / __builtin_sqrtf(variance[i] + epsilon);
        for (long row = 0; row < rows; row++) {
            float *at = x + row * columns + c;
            store(at, (load(at) - mean) * factor + load(bias + c));
        }
    }
}

/* The sum of a row of columns, or of what lies between them and `mean`, squared; in one order, however wide vectors are. */
INLINE float row_sum(long columns, const float *x, float mean, int squared)
{
    float lanes[COLUMNS] = {0}, total = 0;
    for (long c = 0; c < columns; c += WIDTH) {
        vf here = load(x + c) - all(mean);
        float *lane = lanes + c % COLUMNS;
        store(lane, load(lane) + (squared ? here * here : here));
    }
    for (int i = 0; i < COLUMNS; i++) total += lanes[i];
    return total;
}

/* Filters each column of x[rows + taps - 1, columns] by its own taps, and normalises each row of the result. */
void depthwise_norm(long rows, long columns, long taps, const float *x, const float *filter, const float *bias,
                    const float *weight, const float *shift, float epsilon, float *out, long threads)
{
#pragma omp parallel for num_threads(threads)
    for (long row = 0; row < rows; row++) {
        float *y = out + row * columns;
        for (long c = 0; c < columns; c += WIDTH) {
            vf sum = load(bias + c);
            for (long k = 0; k < taps; k++) sum += load(filter + k * columns + c) * load(x + (row + k) * columns + c);
            store(y + c, sum);
        }
        float mean = row_sum(columns, y, 0, 0) / columns;
        float factor = 1 / __builtin_sqrtf(row_sum(columns, y, mean, 1) / columns + epsilon);
        for (long c = 0; c < columns; c += WIDTH)
            store(y + c, (load(y + c) - all(mean)) * all(factor) * load(weight + c) + load(shift + c));
    }
}

/* x *= (1 + erf(x / sqrt 2)) / 2; the error function after Abramowitz and Stegun, 7.1.26 (1.5e-7). */
void gelu(long count, float *x, long threads)
{
#pragma omp parallel for num_threads(threads)
    for (long i = 0; i < count; i += WIDTH) {
        vf here = load(x + i), size = (vf)((vi)here & 0x7fffffff), z = size * all(0.70710678f);
        vf power = z * z * all(-1.44269504f), nearest = all(12582912.0f); /* of two */
        vi tiny = power < all(-120.0f);
        power = (vf)(((vi)all(-120.0f) & tiny) | ((vi)power & ~tiny));
        vf whole = (power + nearest) - nearest, f = power - whole;
        vf e = all(1.33335581e-3f);
        e = e * f + all(9.61812911e-3f);
        e = e * f + all(5.55041087e-2f);
        e = e * f + all(2.40226507e-1f);
        e = e * f + all(6.93147181e-1f);
        e = e * f + all(1.0f);
        e = (vf)((vi)e + (__builtin_convertvector(whole, vi) << 23));
        vf t = all(1.0f) / (all(1.0f) + all(0.3275911f) * z), p = all(1.061405429f);
        p = p * t + all(-1.453152027f);
        p = p * t + all(1.421413741f);
        p = p * t + all(-0.284496736f);
        p = p * t + all(0.254829592f);
        store(x + i, all(0.5f) * (here + size * (all(1.0f) - p * t * e)));
    }
}

/* Values at the twelve points of twelve inputs, `apart` from each other, of a vector of channels. The matrix is that of
 * ops.py; the points but zero and infinity come in pairs of p and -p, whose rows differ in the signs of odd
 * columns, and which have nothing in the first and last column. */
static inline void evaluate(const float *x, long apart, const float *matrix, float *values, long next)
{
    vf in[POINTS], zero = all(0), infinity = all(0);
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
        vf even = all(row[2]) * in[2], odd = all(row[1]) * in[1];
#pragma GCC unroll 4
        for (int i = 3; i < POINTS - 2; i += 2) {
            odd += all(row[i]) * in[i];
            even += all(row[i + 1]) * in[i + 1];
        }
        store(values + p * next, even + odd);
        store(values + (p + 1) * next, even - odd);
    }
}

/* Six outputs of a vector of channels from the products at the twelve points. */
static inline void interpolate(const float *products, long next, const float *matrix, vf bias, vf outputs[OUTPUTS])
{
    vf sums[POINTS / 2 - 1], differences[POINTS / 2 - 1];
#pragma GCC unroll 5
    for (int p = 0; p < POINTS / 2 - 1; p++) {
        vf plus = load(products + (2 * p + 1) * next), minus = load(products + (2 * p + 2) * next);
        sums[p] = plus + minus;
        differences[p] = plus - minus;
    }
#pragma GCC unroll 6
    for (int j = 0; j < OUTPUTS; j++) {
        vf y = bias;
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
void winograd_conv(long samples, long channels, long columns, long dilation, const float *wave, const float *inputs,
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
            long here = min(count - first, block);
            for (long t = 0; t < here; t++) {
                long start = (first + t) / dilation * step + (first + t) % dilation;
                for (long c = 0; c < channels; c += WIDTH)
                    evaluate(wave + start * channels + c, dilation * channels, inputs, values + t * channels + c,
                             block * channels);
            }
            for (long p = 0; p < POINTS; p++) {
                const Product of = {.a = values + p * block * channels, .stride = channels, .taps = 1,
                                    .depth = channels, .b = weights + p * columns * channels};
                const Ending ending = {.out = products + p * block * columns, .columns = columns};
                multiply(&of, 0, here, 0, columns, &ending);
            }
            for (long t = 0; t < here; t++) {
                long start = (first + t) / dilation * step + (first + t) % dilation;
                for (long c = 0; c < columns; c += WIDTH) {
                    vf y[OUTPUTS], w = load(turns + c), s = load(scale + c);
                    interpolate(products + t * columns + c, block * columns, outputs, load(bias + c), y);
                    for (int j = 0; j < OUTPUTS && start + j * dilation < samples; j++)
                        store(snaked + (start + j * dilation) * columns + c, snake(y[j], w, s));
                }
            }
        }
    }
}
