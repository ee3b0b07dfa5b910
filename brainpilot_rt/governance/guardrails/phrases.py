"""How instructions to a model are worded: the tables of `injection`.

A rule is read from left to right: what stands before (within 80 characters), one of the words, what
follows. Everything is in lower case. English first, then Chinese. Pure data.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to say it."""

    label: str
    confidence: float
    words: str
    """Plain, separated by `;`; one of them begins it."""
    rest: str = ""
    """Expression of what follows."""
    before: str = ""
    """Expression of what has to stand before."""


def _few(most: int) -> str:
    return rf"(?:[^\s.!?]+\s+){{0,{most}}}?"


_OLD: Final = (
    r"(?:previous|prior|above|earlier|preceding|foregoing|system|initial|original|existing|former"
    r"|past|old|given|developer)"
)
_ORDERS: Final = (
    r"(?:instructions?|prompts?|directions?|directives?|guidelines?|rules?|programming|commands?"
    r"|constraints?|restrictions?|orders?|policy|policies|system messages?)\b"
)
_SAFE: Final = (
    r"(?:instructions|guidelines|programming|restrictions|constraints|directives|safety|ethic"
    r"|content polic|training|moral|filters)"
)
_FREE: Final = (
    r"(?:unrestricted|unfiltered|uncensored|jailbroken|amoral|evil\b|dan\b|anything now"
    r"|(?:no|without|any|free (?:of|from)) (?:\w+ ){0,2}"
    r"(?:restriction|filter|limit|rule|guideline|censor|moral|ethic|polic))"
)
_VALUABLES: Final = (
    r"(?:api[ _-]?keys?|passwords?|credentials?|secrets?|access tokens?|conversation|chat history"
    r"|environment variables|ssh keys?|private keys?|\.env\b|id_rsa|system prompt|credit card"
    r"|session cookies?|wallet|all (?:the )?files|user(?:'s)? data)"
)
_AWAY: Final = (
    r"(?:https?://|[\w.+-]+@[\w-]+\.|webhook|attacker|this (?:url|address|endpoint|server))"
)
_READER: Final = (
    r"(?:ai\b|llm|chatgpt|assistant|language model|chatbot|model\b|agent\b|gpt|claude|reviewer bot)"
)
_DEMANDS: Final = (
    r"(?:must|should|please|ignore|do not|don't|send|forward|recommend|approve|rate|score|say|add"
    r"|include|instead|reply|respond|execute|run|delete|give)\b"
)
_SHOWS: Final = (
    r"(?:reveal|print|repeat|output|display|disclose|leak|dump|expose|recite|copy|translate"
    r"|(?:show|tell|give|send) (?:me|us)|write (?:out|down)"
    r"|what (?:is|are|was|were)(?= your| the))"
)
_MODES: Final = "dan mode;jailbreak mode;god mode;developer mode;debug mode;admin mode"

ENGLISH: Final = (
    Rule(
        "override",
        0.9,
        "ignore;disregard;forget;overlook;discard;override;bypass",
        rf"\s+(?:and \w+ )?(?:{_few(4)}{_OLD}\s+{_few(3)}{_ORDERS}"
        rf"|(?:all|the|these|those|any)\s+{_few(1)}{_ORDERS}\s+(?:above|before|given|so far))",
    ),
    Rule(
        "override",
        0.8,
        "ignore;disregard;forget;override;bypass;break free from",
        rf"\s+(?:all|any|every|your|the)\s+{_few(2)}{_SAFE}",
    ),
    Rule(
        "override",
        0.85,
        "ignore;disregard;forget;set aside",
        r"\s+(?:everything|anything|all|what(?:ever)?)\s+(?:you|i|we|they|that|above|before|said|stated)"
        r"(?:'ve| have| were| was| are|\b)[^.\n]{0,20}"
        r"(?:told|said|above|before|earlier|learned|instruct)",
    ),
    Rule(
        "override",
        0.8,
        "do not follow;don't follow;stop following;no longer follow;do not obey",
        rf"\s+{_few(3)}(?:{_OLD}|your|the|any)\s+{_few(2)}{_ORDERS}",
    ),
    Rule(
        "reveal",
        0.8,
        "system prompt;system message;initial prompt;hidden prompt;secret prompt;your instructions"
        ";hidden instruction;initial instruction;original instruction;system instr;your prompt"
        ";developer message;your guidelines;your context window;instructions you",
        before=rf"{_SHOWS}\s+(?:\S+\s+){{0,5}}\Z",
    ),
    Rule(
        "reveal",
        0.75,
        "the text above;everything above;the words above",
        before=r"(?:repeat|print|output|recite|reveal|(?:tell|show|give) me)\s+\Z",
    ),
    Rule(
        "persona",
        0.9,
        "you are now;you're now;you will now be;you are going to be;become",
        rf"\s+[^.\n]{{0,60}}?(?:{_FREE}|in (?:developer|debug|god|maintenance|admin) mode)",
    ),
    Rule(
        "persona",
        0.8,
        "act as;acting as;pretend;roleplay as;role-play;play the role;behave as"
        ";imagine you;respond as;answer as;you are",
        rf"\s+[^.\n]{{0,80}}?{_FREE}",
    ),
    Rule("persona", 0.8, "simulate", rf"\s+{_few(2)}{_READER}[^.\n]{{0,60}}?{_FREE}"),
    Rule("persona", 0.85, "do anything now", r"(?!\s+that)"),
    Rule(
        "persona",
        0.8,
        "your restrictions;your limitations;your filters;all restrictions;your safety"
        ";your guidelines",
        r"\s+(?:\w+\s+){0,2}?(?:are|is|have been|has been)\s+(?:now\s+)?"
        r"(?:lifted|removed|disabled|suspended|off\b|void)",
    ),
    Rule(
        "persona",
        0.85,
        _MODES,
        r"\s+(?:is\s+)?(?:now\s+)?(?:enabled|on\b|activated|active|unlocked|engaged|output)",
    ),
    Rule(
        "persona",
        0.8,
        _MODES,
        before=r"(?:enter|enable|activate|switch (?:in)?to|you are (?:now )?in)\s+(?:\w+ )?\Z",
    ),
    Rule(
        "persona",
        0.8,
        "from now on;starting now;henceforth;for the rest of this conversation",
        rf",?\s+[^.\n]{{0,80}}?(?:{_FREE}|never refuse|(?:answer|do|comply with) (?:any|every)thing"
        r"|obey|you (?:must|will|shall) (?:only )?(?:answer|respond|reply|comply|speak))",
    ),
    Rule(
        "persona",
        0.85,
        "you have no;you no longer have;you are not bound by;you're not bound by;freed from"
        ";no longer bound by;you are free from",
        r"\s+(?:\w+\s+){0,3}?(?:rules|restrictions|constraints|guidelines|limits?\b|limitations"
        r"|filters?\b|ethic|moral|censor|polic)",
    ),
    Rule(
        "persona",
        0.72,
        "never refuse;cannot refuse;must not refuse;can't refuse",
        before=r"(?:\byou\b|\bwill\b|\bmust\b|[.!,])[^.\n]{0,30}\Z",
    ),
    Rule("role", 0.8, "<|im_start|>system;<|start_header_id|>system;<|system|>;<<sys>>"),
    Rule(
        "role",
        0.85,
        "[system];<system>;### system;[inst];system override;end of user input;</user>"
        ";[/inst];begin new instructions;end of document",
        r"[^.\n]{0,20}\s*[^.\n]{0,40}?(?:you (?:are|must|will|should)|ignore|override|from now on"
        r"|new (?:instructions|rules|task)|disregard|safety|<\|im_start)",
    ),
    Rule(
        "role",
        0.85,
        "system:;admin:;developer:;root:",
        r"\s*[^.\n]{0,30}?(?:you (?:are now|must|will now)|ignore|new (?:instructions|directive)"
        r"|override|disregard|the assistant must|safety (?:is|checks|filters))",
        r"(?:^|[\s\[(*#>\"'])\Z",
    ),
    Rule(
        "planted",
        0.8,
        "new instructions;updated instructions;new directive;new task;revised instructions"
        ";actual instructions;real instructions",
        r"(?:\s+(?:for (?:you|the (?:ai|assistant|model|agent))"
        r"|from (?:the )?(?:admin|developer|system|openai|anthropic|user))\b"
        r"|\s*:\s*(?:you|ignore|send|delete|forward|do not|don't|reply|respond|output|instead"
        r"|first|call|run))",
    ),
    Rule(
        "planted",
        0.75,
        "attention;note to;notice to;message to;message for;instruction for;instructions for"
        ";instructions to;important for;hey;dear;reminder to",
        rf"[\s:,]+(?:(?:the|any|all|every|an?)\s+)?(?:\w+\s+)?{_READER}[^.\n]{{0,30}}?[:,.!-]+\s*"
        rf"[^.\n]{{0,60}}?(?:you\b|{_DEMANDS})",
    ),
    Rule(
        "planted",
        0.75,
        "ai agents;ai assistants;ai agent;ai assistant;assistant;hi claude;hi chatgpt;hello claude",
        rf"\s*[:,]\s*(?:{_DEMANDS}"
        r"|[^.\n]{0,40}?(?:must|please|ignore|do not|don't|send|include)\b)",
        r"(?:^|[>*#\"(\n-]\s*|[.!?]\s+)\Z",
    ),
    Rule(
        "planted",
        0.75,
        "skip;without asking for",
        r"\s+(?:all\s+|any\s+|the\s+)?(?:confirmations?|approvals?|permission checks?)\b",
        r"(?:approved|already|trusted|allowed|authori[sz]ed|always|must|should)[^\n]{0,60}\Z",
    ),
    Rule(
        "planted",
        0.75,
        "if you are an;if you're an;if you are a;if an;if you are the;as an",
        rf"\s+(?:\w+\s+){{0,2}}?{_READER}[^\n]{{0,60}}?(?:then\b|{_DEMANDS})",
    ),
    Rule(
        "secrecy",
        0.8,
        "do not;don't;never;without",
        r"\s+(?:(?:tell|inform|alert|notify)\w*|(?:mention|reveal|show|report|disclos)\w*\s+"
        r"(?:this|that|it|any(?:thing| of this)|these|the \w+)\s+(?:\w+\s+)?to)\s+(?:the\s+)?"
        r"(?:user|human|operator|owner)\b",
    ),
    Rule(
        "secrecy",
        0.75,
        "hide this from the user;secret from the user;keep this from the user"
        ";without the user's knowledge;without the user knowing;without the user noticing",
    ),
    Rule(
        "exfiltration",
        0.85,
        "send;forward;upload;exfiltrate;post;transmit;leak;email;submit;append;include",
        rf"\s+{_few(6)}(?<!your ){_VALUABLES}[^.\n]{{0,60}}?\s(?:to|at|in|via)\s+"
        rf"[^\n]{{0,40}}?{_AWAY}",
    ),
    Rule(
        "exfiltration",
        0.8,
        "![",
        r"[^\]\n]{0,60}\]\(https?://[^)\s]{1,120}[?&][\w-]{1,20}="
        r"(?:[{\[<$]|%7b|your|data|secret|base64)",
    ),
    Rule(
        "encoded",
        0.75,
        "base64;rot13",
        r"[^.\n]{0,60}?(?:and|then)\s+(?:follow|execute|obey|comply|do what|run|carry out|act on)",
        r"(?:decode|decrypt|following|this|below)[^.\n]{0,30}\Z",
    ),
)

_SAME: Final = r"[^。\uff01\uff1f\n]"
"""A character of the same sentence."""

CHINESE: Final = (
    Rule(
        "override",
        0.88,
        "忽略;无视;忘记;忘掉;不要遵守;不要理会;抛弃;丢弃;绕过;别管;不用管;不用遵守;不再遵守",
        rf"{_SAME}{{0,10}}?(?:之前|以上|上面|先前|此前|前面|上述|所有|一切|系统|原有|原来|任何|你的)"
        rf"{_SAME}{{0,8}}?(?:指令|指示|提示词|提示|规则|设定|要求|命令|限制|约束|内容|对话|安全|准则|说明)",
    ),
    Rule(
        "reveal",
        0.8,
        "系统提示;系统指令;初始指令;初始提示;隐藏指令;内部指令;你的提示词;上面的文字;原始指令;你的指令;系统消息",
        before=r"(?:输出|显示|告诉我|打印|重复|泄露|透露|复述|展示|说出|给我|公开|翻译|写出|列出|发给我)"
        rf"{_SAME}{{0,12}}\Z",
    ),
    Rule(
        "persona",
        0.88,
        "你的新身份;你现在是;从现在起;从现在开始;假装你;扮演;假设你是;你不再是;你是一个",
        rf"{_SAME}{{0,40}}?(?:没有(?:任何)?(?:限制|约束|道德|规则|审查|过滤)"
        r"|不受(?:任何)?(?:限制|约束|规则)|无限制|不再(?:受|遵守)|dan\b|越狱|开发者模式|可以做任何|必须回答"
        r"|不会拒绝|不能拒绝|邪恶)",
    ),
    Rule(
        "persona",
        0.8,
        "开发者模式;越狱模式;无限制模式;上帝模式;管理员模式",
        before=rf"(?:进入|开启|启用|激活|切换到|打开|处于){_SAME}{{0,4}}\Z",
    ),
    Rule(
        "secrecy",
        0.8,
        "不要告诉;别告诉;不得告知;不要通知;不要向;瞒着",
        rf"{_SAME}{{0,4}}?(?:用户|使用者|主人|操作者)",
    ),
    Rule(
        "secrecy",
        0.8,
        "不要让用户;别让用户",
        rf"{_SAME}{{0,4}}?(?:知道|发现|察觉|看到|看见)",
    ),
    Rule(
        "override",
        0.8,
        "之前的规则;之前的指令;以上规则;以前的规则;原有规则;之前的限制",
        rf"{_SAME}{{0,6}}?(?:作废|无效|失效|取消|不再适用)",
    ),
    Rule(
        "reveal",
        0.8,
        "第一条消息;你收到的指令;系统提示词",
        rf"{_SAME}{{0,6}}?(?:输出|复述|打印|发给我|告诉我)",
    ),
    Rule(
        "planted",
        0.78,
        "新指令;新的指令;系统通知;重要指令;给ai的;致ai;如果你是ai;如果你是一个ai;如果你是人工智能;ai助手请"
        ";人工智能助手请;请ai;如果你是大模型;如果你是语言模型;系统:;系统\uff1a",
        rf"{_SAME}{{0,30}}?(?:你必须|请你?|立即|忽略|执行|发送|删除|不要|回复|务必|必须|给出|只能)",
    ),
    Rule(
        "exfiltration",
        0.8,
        "发送;上传;转发;发到;提交;泄露;发给",
        rf"{_SAME}{{0,40}}?(?:https?://|[\w.+-]+@[\w-]+\.|攻击者)",
        r"(?:密码|密钥|api ?key|凭证|凭据|令牌|环境变量|聊天记录|对话|私钥|\.env|token)"
        rf"{_SAME}{{0,16}}\Z",
    ),
)

ABOUT: Final = (
    r"(?:such as|\blike\b|e\.g\.|for example|for instance|phrases?\b|strings?\b|patterns?\b|attack"
    r"|inject|jailbreak|detect|prevent|classif|dataset|\bpaper\b|called|titled|known as|examples?\b"
    r"|quot|attempt|tries to|trying to|tried to|asks? (?:it|the|them|an?)|telling|says? \W|said \W"
    r"|wrote \W|\basserts?\b|\bcontains?\b|users? (?:who|may|might|could|will)|someone"
    r"|if (?:a|the) user|reject|refuse|blocks?\b|filters?\b|malicious|adversar|warn|red team|\btest"
    r"|比如|例如|诸如|类似|攻击|注入|检测|所谓|论文|防止|识别|拒绝|用户说|有人|试图|样本)"
    r"[^.!?。\uff01\uff1f\n]{0,60}\Z"
)
"""What stands before a text that is spoken about, not spoken."""
NOT: Final = (
    r"(?:never|not|don't|doesn't|won't|can't|cannot|shouldn't|mustn't|didn't|no one|nobody|not to"
    r"|forbid|prohibit|avoid|切勿|不要|不得|不能|不会|禁止|请勿|不可)\s*(?:\w+\s+){0,3}\Z"
)
"""What turns it into its opposite."""
