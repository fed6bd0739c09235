// A layer of bytes: tiles are fetched once, coloured here, and coloured again when colours change.
import {ImageTile, TileGrid} from './ol.js';
import {getBytes} from './api.js';
import {strongAt} from './colours.js';

const KEPT = 600; // tiles: 40 MB of bytes, and as many canvases

// side × side pixels from bytes of (side + 2)²: a border of one on each side.
export function paint(canvas, bytes, side, table, outline) {
  const across = side + 2;
  const image = new ImageData(side, side);
  const out = image.data;
  for (let y = 0; y < side; y++)
    for (let x = 0; x < side; x++) {
      const at = (y + 1) * across + x + 1;
      let entry = table[bytes[at]];
      if (outline) {
        const near = [bytes[at - 1], bytes[at + 1], bytes[at - across], bytes[at + across]];
        const other = near.find((v) => v !== bytes[at] && v !== 255);
        if (other === undefined || bytes[at] === 255) continue;
        entry = entry ?? table[other];
        if (entry) out.set([entry.rgba[0], entry.rgba[1], entry.rgba[2], 255], 4 * (y * side + x));
        continue;
      }
      if (!entry) continue;
      const strong = strongAt(entry.pattern, x, y);
      out.set([entry.rgba[0], entry.rgba[1], entry.rgba[2], strong ? entry.rgba[3] : entry.rgba[3] >> 2],
        4 * (y * side + x));
    }
  canvas.getContext('2d').putImageData(image, 0, 0);
}

export class ByteTiles {
  // path(level, x, y) is a tile's address; failed(message) is told once why there are none.
  constructor(slide, projection, path, failed) {
    this.side = slide.plane_px;
    this.tiles = new Map();
    this.table = null;
    this.outline = false;
    const n = slide.plane_levels;
    this.source = new ImageTile({
      projection, wrapX: false, transition: 0, interpolate: false, zDirection: -1,
      tileGrid: new TileGrid({extent: [0, -slide.h, slide.w, 0], origin: [0, 0], tileSize: this.side,
        resolutions: Array.from({length: n}, (_, z) => 2 ** (n - 1 - z))}),
      loader: async (z, x, y, {signal}) => {
        const key = path(n - 1 - z, x, y);
        let tile = this.tiles.get(key);
        if (!tile) {
          const canvas = document.createElement('canvas');
          canvas.width = canvas.height = this.side;
          try {
            tile = {canvas, bytes: await getBytes(key, signal)};
          } catch (error) {
            if (error.name !== 'AbortError') failed(error.message);
            throw error;
          }
          this.keep(key, tile);
        }
        paint(tile.canvas, tile.bytes, this.side, this.table, this.outline);
        return tile.canvas;
      },
    });
  }

  keep(key, tile) {
    this.tiles.set(key, tile);
    if (this.tiles.size > KEPT) this.tiles.delete(this.tiles.keys().next().value);
  }

  // New colours for what is there: nothing is loaded again.
  recolour(table, outline) {
    this.table = table;
    this.outline = outline;
    for (const tile of this.tiles.values()) paint(tile.canvas, tile.bytes, this.side, table, outline);
    this.source.changed();
  }
}
