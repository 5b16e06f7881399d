"""A page in headless Chromium, spoken to in the DevTools protocol through a pipe, for tests of what a script shows."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time

PROGRAM = next((path for path in map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome')) if path), None)
_SECONDS = 60  # for an answer, on a machine that others use too
# Chromium reads commands at 3 and answers at 4.
_START = 'import fcntl, os, sys; r, w = (fcntl.fcntl(int(n), fcntl.F_DUPFD, 20) for n in sys.argv[1:3]); os.dup2(r, 3); os.dup2(w, 4); '
_START += 'os.execv(sys.argv[3], sys.argv[3:])'


class Page:
    """One page; `said` gathers the errors of its scripts, of its console, and of what it could not load."""

    def __init__(self, read, write):
        self._read, self._write, self._rest, self._count, self._session, self.said = read, write, b'', 0, None, []
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self._session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(f'{domain}.enable')

    def call(self, method, **parameters):
        """The result of a method of the protocol; AssertionError where it fails."""
        self._count += 1
        number = self._count
        message = {'id': number, 'method': method, 'params': parameters}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._write, json.dumps(message).encode() + b'\0')
        end = time.monotonic() + _SECONDS
        while True:
            answer = self._next(end)
            if answer.get('id') == number:
                assert 'error' not in answer, answer['error']
                return answer['result']
            self._heard(answer)

    def _next(self, end):
        while b'\0' not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0, end - time.monotonic()))
            assert ready, 'Chromium did not answer'
            part = os.read(self._read, 1 << 20)
            assert part, 'Chromium has ended'
            self._rest += part
        line, _, self._rest = self._rest.partition(b'\0')
        return json.loads(line)

    def _heard(self, event):
        told = event.get('params', {})
        if event.get('method') == 'Runtime.exceptionThrown':
            self.said.append(told['exceptionDetails'].get('exception', {}).get('description') or told['exceptionDetails']['text'])
        elif event.get('method') == 'Log.entryAdded' and told['entry']['level'] in ('error', 'warning'):
            self.said.append(told['entry']['text'] + told['entry'].get('url', ''))
        elif event.get('method') == 'Runtime.consoleAPICalled' and told['type'] in ('error', 'warning', 'assert'):
            self.said.append(str(told['args']))
        elif event.get('method') == 'Network.requestWillBeSent' and not told['request']['url'].startswith(('file:', 'data:')):
            self.said.append(f'asked for {told["request"]["url"]}')

    def open(self, address):
        self.call('Page.navigate', url=address)
        self.wait("document.readyState === 'complete'")

    def ask(self, expression):
        """The value of an expression in the page; AssertionError where it throws."""
        found = self.call('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in found, found['exceptionDetails']
        return found['result'].get('value')

    def wait(self, expression):
        """Until an expression holds."""
        end = time.monotonic() + _SECONDS
        while not self.ask(f'Boolean({expression})'):
            assert time.monotonic() < end, f'never came true: {expression}'
            time.sleep(0.05)

    def size(self, width, height, dark=False):
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        scheme = {'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}
        self.call('Emulation.setEmulatedMedia', features=[scheme])

    def click(self, selector):
        """A click of the mouse in the middle of an element, scrolled into view."""
        element = f'document.querySelector({json.dumps(selector)})'
        self.ask(f"{element}.scrollIntoView({{block: 'center'}})")
        x, y, width, height = self.ask(f'(({{x, y, width, height}}) => [x, y, width, height])({element}.getBoundingClientRect())')
        self.point(x + width / 2, y + height / 2, 'mousePressed', 'mouseReleased')

    def point(self, x, y, *kinds):
        for kind in ('mouseMoved', *kinds):
            button = {'button': 'left', 'clickCount': 1} if kind != 'mouseMoved' else {}
            self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, **button)

    def press(self, key):
        code = {'Enter': 13, 'Escape': 27, 'ArrowLeft': 37, 'ArrowUp': 38, 'ArrowRight': 39, 'ArrowDown': 40, 'Tab': 9}[key]
        text = {'text': '\r'} if key == 'Enter' else {}
        self.call('Input.dispatchKeyEvent', type='keyDown', key=key, code=key, windowsVirtualKeyCode=code, **text)
        self.call('Input.dispatchKeyEvent', type='keyUp', key=key, code=key, windowsVirtualKeyCode=code)

    def picture(self):
        """A screenshot, PNG."""
        return base64.b64decode(self.call('Page.captureScreenshot')['data'])


@contextlib.contextmanager
def opened(folder):
    """A Page of a Chromium of its own, whose profile lies in a folder."""
    (theirs, write), (read, back) = os.pipe(), os.pipe()
    own = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', f'--user-data-dir={folder}']
    own += ['--disable-background-networking', '--remote-debugging-pipe', 'about:blank']
    line = [sys.executable, '-c', _START, str(theirs), str(back), PROGRAM, *own]
    process = subprocess.Popen(line, pass_fds=(theirs, back), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(theirs)
    os.close(back)
    try:
        page = Page(read, write)
        yield page
        page._session = None
        page.call('Browser.close')
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()
        os.close(read)
        os.close(write)
