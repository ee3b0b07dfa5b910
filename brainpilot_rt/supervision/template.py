"""BrainPilot's `bp_template/` folder as it is now: provider profiles and persona texts.

Files are read again when they have changed, so a setting counts from the next run on (lesson 44).
A folder that can not be read is a warning, never an empty answer in disguise.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Final

from brainpilot_rt.domain.ids import NAME
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.models.dispatch import Dispatcher
from brainpilot_rt.models.ollama import find
from brainpilot_rt.models.providers import (
    OFFLINE,
    ProviderEnv,
    ProviderProfile,
    Providers,
    choose,
    needs_probe,
)
from brainpilot_rt.settings import Settings

OLLAMA_HOST: Final = "http://127.0.0.1:11434"
PROMPT_BYTES_MAX: Final = 256 * 1024

_log = logging.getLogger(__name__)


class Template:
    """What the user has put beside the log, read on demand."""

    def __init__(
        self, settings: Settings, on_change: Callable[[Providers], None] = lambda _: None
    ) -> None:
        """`on_change`: told the profiles whenever they were read."""
        self.folder = settings.data_dir / "bp_template"
        self._settings = settings
        self._on_change = on_change
        self._env = provider_env(settings)
        self._ollama: ProviderProfile | None = None
        self._seen: tuple[int, int] | None = None
        self.providers = Providers()

    async def probe(self) -> None:
        """Look for a local Ollama, once, when nothing else is configured."""
        models = self._settings.models
        if models.ollama_probe and not models.offline and needs_probe(self._file(), self._env):
            self._ollama = await find(models.ollama_host or OLLAMA_HOST)

    def current(self) -> Providers:
        """The provider profiles as the file and the environment say it now."""
        path = self.folder / "providers.json"
        try:
            found = path.stat()
            mark = (found.st_mtime_ns, found.st_ino)
        except OSError:
            mark = (0, 0)
        if mark != self._seen:
            self._seen = mark
            chosen = choose(self._file(), self._env, self._ollama)
            if self._settings.models.offline:
                chosen = Providers(chosen.profiles, OFFLINE.id, chosen.warnings)
            self.providers = chosen
            self._on_change(chosen)
            for warning in chosen.warnings:
                _log.warning("providers: %s", warning)
        return self.providers

    def model_of(
        self, dispatcher: Dispatcher, provider: str | None, model: str | None
    ) -> ModelRef | None:
        """The model a session is bound to; None when it takes the default."""
        providers = self.current()
        dispatcher.use(providers)
        if provider is None and model is None:
            return None
        return ModelRef(provider=provider or providers.default, model=model or "")

    def prompts(self) -> Mapping[str, str]:
        """Texts that replace a persona's own: `agents/<name>/prompt.md`."""
        folder = self.folder / "agents"
        texts: dict[str, str] = {}
        try:
            names = [one.name for one in folder.iterdir() if NAME.fullmatch(one.name)]
        except FileNotFoundError:
            return texts
        for name in names:
            path = folder / name / "prompt.md"
            try:
                texts[name] = path.read_text(encoding="utf-8")[:PROMPT_BYTES_MAX]
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError) as error:
                _log.warning("persona %s: %s", name, error)
        return texts

    def _file(self) -> bytes | None:
        try:
            return (self.folder / "providers.json").read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("providers.json can not be read: %s", error)
            return None


def provider_env(settings: Settings) -> ProviderEnv:
    """The environment's say about models."""
    models = settings.models
    return ProviderEnv(
        anthropic_api_key=_secret(models.anthropic_api_key),
        anthropic_base_url=models.anthropic_base_url or "",
        anthropic_model=models.anthropic_model or "",
        anthropic_max_tokens=models.anthropic_max_tokens,
        openai_api_key=_secret(models.openai_api_key),
        openai_base_url=models.openai_base_url or "",
        openai_model=models.openai_model or "",
        ollama_host=models.ollama_host or "",
        mock=models.mock,
        keys=settings.environment,
    )


def _secret(value: object) -> str:
    reveal = getattr(value, "get_secret_value", None)
    return str(reveal()) if callable(reveal) else ""
