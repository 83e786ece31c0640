/** The look that charts and pages share. */

/** Colors of text, of text beside it, of lines between, of backgrounds. */
export const ink = "#1f2933", faint = "#616e7c", rule = "#e4e7eb", shade = "#f5f7fa";

/** What everyone has. */
export const font = "system-ui, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif";
