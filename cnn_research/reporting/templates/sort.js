// Tables sort by a click on a column's head: up, down, as they were.
for (const table of document.querySelectorAll('table.sortable')) {
  const body = table.tBodies[0], before = [...body.rows];
  const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  [...table.tHead.rows[0].cells].forEach((head, column, heads) => {
    head.tabIndex = 0;
    head.ariaSort = 'none';
    const sort = () => {
      const now = { none: 'ascending', ascending: 'descending', descending: 'none' }[head.ariaSort];
      heads.forEach((other) => { other.ariaSort = 'none'; });
      head.ariaSort = now;
      const rows = [...before];
      if (now !== 'none') {
        const sign = now === 'ascending' ? 1 : -1;
        const known = rows.filter((row) => value(row, column) !== ''), rest = rows.filter((row) => value(row, column) === '');
        known.sort((one, other) => sign * value(one, column).localeCompare(value(other, column), 'en', { numeric: true }));
        if (head.classList.contains('number')) known.sort((one, other) => sign * (value(one, column) - value(other, column)));
        rows.splice(0, rows.length, ...known, ...rest);
      }
      body.append(...rows);
    };
    head.addEventListener('click', sort);
    head.addEventListener('keydown', (event) => { if (event.key === 'Enter') sort(); });
  });
}
