/* Random numbers that are the same for the same seed, on every machine. */
class Random {
  constructor(seed) {
    this.state = (seed * 2654435761 + 1) >>> 0;
    this.spare = null;
    for (let i = 0; i < 4; i++) this.uniform(); // so that near seeds part
  }

  uniform() {
    // from 0 to below 1; "mulberry32", a generator of 32 bits
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let bits = this.state;
    bits = Math.imul(bits ^ (bits >>> 15), bits | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  }

  normal() {
    // mean 0 and variance 1, by the method of Box and Muller, which makes two at a time
    if (this.spare !== null) {
      const value = this.spare;
      this.spare = null;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const turn = 2 * Math.PI * this.uniform();
    this.spare = radius * Math.sin(turn);
    return radius * Math.cos(turn);
  }

  shuffle(list) {
    // in place
    for (let i = list.length - 1; i > 0; i--) {
      const j = Math.floor(this.uniform() * (i + 1));
      [list[i], list[j]] = [list[j], list[i]];
    }
    return list;
  }
}
