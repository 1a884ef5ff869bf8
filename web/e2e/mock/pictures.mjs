// Pictures that the mock serves for attachments, by id; drawn, so that the mock needs no files.
const svg = (width, height, body) =>
  Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">${body}</svg>`);

const bars = [40, 90, 60, 130, 110, 160].map((h, i) => `<rect x="${40 + i * 60}" y="${200 - h}" width="36" height="${h}" fill="#c8763a"/>`).join("");

export const PICTURES = {
  att_chart: svg(420, 240, `<rect width="420" height="240" fill="#f4f1ea"/>${bars}<path d="M30 20v182h370" stroke="#555" fill="none"/>`),
  att_tall: svg(200, 600, `<rect width="200" height="600" fill="#24313f"/><circle cx="100" cy="120" r="60" fill="#7fb2d9"/>`),
};
